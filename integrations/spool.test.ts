import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault } from '../core/fault.ts'
import { type NewOrder, SPOOL_LIMITS, Spool } from './spool.ts'

function order(id: string, text = ''): NewOrder {
  const json = JSON.stringify({ text })
  return {
    id,
    integration: 'sink',
    script: '',
    destination: 'sink x',
    arguments: json,
    bytes: json.length,
    accepted: 0,
  }
}

/** SQLite answers a file at its limit as it answers a full disk. */
const NARROW = { ...SPOOL_LIMITS, fileBytes: 160 * 1024 }

describe('spool', () => {
  let directory: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'hookline-spool-'))
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  it('tells the caller that the disk is full, keeps what it has, and takes again when there is room', async () => {
    const spool = Spool.open(directory, NARROW)
    await spool.add(order('kept'))
    const big = 'x'.repeat(50_000)
    const results = await Promise.allSettled(Array.from({ length: 8 }, (_, i) => spool.add(order(`big ${i}`, big))))
    assert.ok(results.every(({ status }) => status === 'rejected'))
    assert.equal((results[0] as PromiseRejectedResult).reason.code, 'SPOOL_DISK_FULL')
    assert.equal(spool.counts().produced, 1)
    assert.equal(spool.next('sink x')?.id, 'kept')
    await spool.delivered(spool.next('sink x')!)
    await spool.add(order('small'))
    assert.deepEqual(spool.counts().delivered, 1)
    assert.deepEqual(spool.counts().spooled, 1)
    await spool.close()
  })

  it('writes what has happened outside although those who want in at the same time find no room', async () => {
    const spool = Spool.open(directory, NARROW)
    await spool.add(order('sent'))
    const refused = spool.add(order('big', 'x'.repeat(200_000)))
    await Promise.all([assert.rejects(refused, { code: 'SPOOL_DISK_FULL' }), spool.delivered(spool.next('sink x')!)])
    assert.equal(spool.counts().delivered, 1)
    assert.equal(spool.counts().spooled, 0)
    await spool.close()
  })

  it('becomes empty by itself on a disk that is full, and takes again when there is room', async function () {
    this.timeout(20_000)
    const disk = smallDisk(directory, '16m')
    if (disk === null) return this.skip()
    try {
      const spool = Spool.open(join(disk, 'spool'))
      for (let i = 0; i < 100; i++) await spool.add(order(`early ${i}`, 'x'.repeat(5_000)))
      const glut = join(disk, 'glut')
      fill(glut)
      let accepted = 100
      const late = { code: 'SPOOL_DISK_FULL' }
      await assert.rejects(async () => {
        for (; ; accepted++) await spool.add(order(`late ${accepted}`, 'x'.repeat(5_000)))
      }, late)
      for (let left = accepted; left > 0; left--) await spool.delivered(spool.next('sink x')!)
      const { produced, delivered, spooled } = spool.counts()
      assert.deepEqual({ produced, delivered, spooled }, { produced: accepted, delivered: accepted, spooled: 0 })

      rmSync(glut)
      await eventually(() => spool.add(order('afterwards')))
      await spool.close()
    } finally {
      spawnSync('umount', [disk])
    }
  })

  it('opens on a disk that is full, where what waits is listed and delivered', async function () {
    const disk = smallDisk(directory, '16m')
    if (disk === null) return this.skip()
    try {
      const before = Spool.open(join(disk, 'spool'))
      for (let i = 0; i < 100; i++) await before.add(order(`${i}`, 'x'.repeat(5_000)))
      await before.close()
      fill(join(disk, 'glut'))

      const listing = Spool.open(join(disk, 'spool'))
      assert.equal(listing.backlog()[0]!.spooled, 100)
      await listing.close()

      const delivering = Spool.open(join(disk, 'spool'))
      await assert.rejects(delivering.add(order('late', 'x'.repeat(5_000))), { code: 'SPOOL_DISK_FULL' })
      for (let left = 100; left > 0; left--) await delivering.delivered(delivering.next('sink x')!)
      await delivering.close()

      const after = Spool.open(join(disk, 'spool'))
      const { produced, delivered, spooled } = after.counts()
      assert.deepEqual({ produced, delivered, spooled }, { produced: 100, delivered: 100, spooled: 0 })
      await after.close()
    } finally {
      spawnSync('umount', [disk])
    }
  })

  it('says that the disk is full where there is no room for a spool, and does not wait for room to close', async function () {
    const disk = smallDisk(directory, '16m')
    if (disk === null) return this.skip()
    try {
      await Spool.open(join(disk, 'spool')).close()
      rmSync(join(disk, 'spool', 'reserve'))
      fill(join(disk, 'glut'))
      const spool = Spool.open(join(disk, 'spool'))
      assert.throws(() => spool.add(order('late')), { code: 'SPOOL_DISK_FULL' })
      spool.count('refused')
      await spool.close()
      assert.throws(() => Spool.open(join(disk, 'another')), { code: 'SPOOL_DISK_FULL', message: /the disk is full/ })
    } finally {
      spawnSync('umount', [disk])
    }
  })

  for (const [size, least] of [
    ['1m', 20],
    ['6m', 120],
  ] as const) {
    it(`takes orders on a disk of ${size}, and becomes empty when they have filled it, again and again`, async function () {
      const disk = smallDisk(directory, size)
      if (disk === null) return this.skip()
      try {
        for (let round = 0; round < 3; round++) {
          const filling = Spool.open(join(disk, 'spool'))
          let accepted = 0
          await assert.rejects(
            async () => {
              for (; ; accepted++) await filling.add(order(`${round} ${accepted}`, 'x'.repeat(20_000)))
            },
            { code: 'SPOOL_DISK_FULL' },
          )
          assert.ok(accepted >= least, `${accepted} orders in round ${round}`)
          await filling.close()
          const emptying = Spool.open(join(disk, 'spool'))
          for (let left = accepted; left > 0; left--) await emptying.delivered(emptying.next('sink x')!)
          assert.ok(emptying.empty)
          await emptying.close()
        }
      } finally {
        spawnSync('umount', [disk])
      }
    })
  }

  it('can fold its log with the reserve alone, whatever the last order was', async function () {
    const disk = smallDisk(directory, '4m')
    if (disk === null) return this.skip()
    try {
      for (let round = 0; round < 2; round++) {
        const filling = Spool.open(join(disk, 'spool'))
        let accepted = 0
        await assert.rejects(
          async () => {
            for (; ; accepted++) await filling.add(order(`${round} ${accepted}`, 'x'.repeat(300_000)))
          },
          { code: 'SPOOL_DISK_FULL' },
        )
        await filling.close()
        fill(join(disk, 'glut'))
        const emptying = Spool.open(join(disk, 'spool'))
        for (let left = accepted; left > 0; left--) await emptying.delivered(emptying.next('sink x')!)
        assert.ok(emptying.empty)
        await emptying.close()
        rmSync(join(disk, 'glut'))
      }
    } finally {
      spawnSync('umount', [disk])
    }
  })

  it('finishes at close what was begun', async () => {
    const before = Spool.open(directory)
    const adding = Promise.all(['a', 'b', 'c'].map(id => before.add(order(id))))
    await before.close()
    await adding
    const after = Spool.open(directory)
    assert.equal(after.counts().spooled, 3)
    await after.close()
  })

  it('says in one line what is wrong with its directory', () => {
    const file = join(directory, 'file')
    writeFileSync(file, '')
    const garbage = join(directory, 'garbage')
    mkdirSync(garbage)
    writeFileSync(join(garbage, 'spool.db'), 'no database at all, but long enough to be looked at '.repeat(100))
    for (const [wrong, code, message] of [
      [file, 'SPOOL_UNUSABLE', /needs a directory/],
      [garbage, 'SPOOL_DAMAGED', /spool\.db is damaged/],
    ] as const) {
      assert.throws(
        () => Spool.open(wrong),
        (fault: Fault) => {
          assert.equal(fault.code, code)
          assert.match(fault.message, message)
          return fault.message.includes(wrong)
        },
      )
    }
  })

  it('does not touch the file of a later version', async () => {
    await Spool.open(directory).close()
    const database = new DatabaseSync(join(directory, 'spool.db'))
    database.exec('pragma user_version = 99')
    database.close()
    assert.throws(() => Spool.open(directory), { code: 'SPOOL_LAYOUT' })
  })
})

/** null: only root may make one. */
function smallDisk(directory: string, size: string): string | null {
  const disk = join(directory, 'disk')
  mkdirSync(disk)
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', disk]).status === 0 ? disk : null
}

/** Takes what is left of the disk, to the last page. */
function fill(path: string): void {
  assert.throws(
    () => {
      for (;;) appendFileSync(path, Buffer.alloc(4096))
    },
    { code: 'ENOSPC' },
  )
}

async function eventually(attempt: () => Promise<void>): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt()
    } catch (error) {
      if (tries === 100) throw error
      await pause(50)
    }
  }
}
