/**
 * Finds the container in the path of a cgroup, as runtimes write it:
 *
 *   /kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope     systemd
 *   /kubepods/burstable/pod<uid>/<id>                                                                        cgroupfs
 *   /system.slice/docker-<id>.scope      /docker/<id>      /machine.slice/libpod-<id>.scope/container
 */
export interface Container {
  /** Sixty-four hexadecimal digits. */
  id: string
  /** Of the pod it belongs to, as Kubernetes writes it; null outside of Kubernetes. */
  podUid: string | null
}

/** null: the cgroup is of no container, such as a service of systemd. Of containers within containers, the innermost. */
export function containerOf(cgroup: string): Container | null {
  const [, id] = [...cgroup.matchAll(CONTAINER)].at(-1) ?? []
  if (id === undefined) return null
  const [, podUid] = POD.exec(cgroup) ?? []
  return { id, podUid: podUid?.replaceAll('_', '-') ?? null }
}

/** `crio-conmon-<id>.scope` and `libpod-conmon-<id>.scope` are of those who watch a container. */
const CONTAINER = /\/(?:(?!\S*conmon-)[a-z0-9.]+(?:-[a-z0-9.]+)*-)?([0-9a-f]{64})(?:\.scope)?(?=\/|$)/g
/** Static pods have a hash of their manifest for a uid. */
const POD = /pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?=\/|$)/
