import assert from 'node:assert/strict'
import { type Container, containerOf } from './container.ts'

const ID = '4f3c0b7c9a1d2e3f4a5b6c7d8e9f00112233445566778899aabbccddeeff0011'
const UID = '0a1b2c3d-1111-2222-3333-444455556666'

const PATHS: readonly [runtime: string, path: string, container: Container | null][] = [
  [
    'containerd under systemd',
    `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod${UID.replaceAll('-', '_')}.slice/cri-containerd-${ID}.scope`,
    { id: ID, podUid: UID },
  ],
  ['containerd under cgroupfs', `/kubepods/besteffort/pod${UID}/${ID}`, { id: ID, podUid: UID }],
  [
    'a guaranteed pod of CRI-O',
    `/kubepods.slice/kubepods-pod${UID.replaceAll('-', '_')}.slice/crio-${ID}.scope`,
    { id: ID, podUid: UID },
  ],
  [
    'a part of a container of CRI-O',
    `/kubepods.slice/kubepods-pod${UID.replaceAll('-', '_')}.slice/crio-${ID}.scope/container`,
    { id: ID, podUid: UID },
  ],
  ['what watches a container of CRI-O', `/system.slice/crio-conmon-${ID}.scope`, null],
  [
    'a static pod',
    `/kubepods/burstable/podd41d8cd98f00b204e9800998ecf8427e/${ID}`,
    { id: ID, podUid: 'd41d8cd98f00b204e9800998ecf8427e' },
  ],
  [
    'a cluster within a container',
    `/docker/${ID.replace('4', '5')}/kubepods/besteffort/pod${UID}/${ID}`,
    { id: ID, podUid: UID },
  ],
  ['Docker under systemd', `/system.slice/docker-${ID}.scope`, { id: ID, podUid: null }],
  ['Docker under cgroupfs', `/docker/${ID}`, { id: ID, podUid: null }],
  ['systemd in a container of Docker', `/system.slice/docker-${ID}.scope/init.scope`, { id: ID, podUid: null }],
  ['Podman', `/machine.slice/libpod-${ID}.scope/container`, { id: ID, podUid: null }],
  ['what watches a container of Podman', `/machine.slice/libpod-conmon-${ID}.scope`, null],
  ['a service', '/system.slice/ssh.service', null],
  ['a session', '/user.slice/user-1000.slice/session-3.scope', null],
  ['the root', '/', null],
  ['a pod without its container', `/kubepods/besteffort/pod${UID}`, null],
  ['a number that is too long', `/docker/${ID}0`, null],
]

describe('containers in the paths of cgroups', () => {
  for (const [runtime, path, container] of PATHS) {
    it(`tells ${runtime}`, () => {
      assert.deepEqual(containerOf(path), container)
    })
  }
})
