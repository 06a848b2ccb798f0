/** Files that are there whole or not at all: written under a hidden name, and renamed when they are on disk. */
import { closeSync, constants, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Fault } from '../core/fault.ts'

/** Whatever `work` throws leaves nothing behind. A file of that name is replaced. */
export async function writeWholeFile<T>(
  path: string,
  work: (write: (chunk: Uint8Array) => void) => Promise<T>,
): Promise<T> {
  const draft = join(dirname(path), `.${basename(path)}.${process.pid}`)
  let file: number
  try {
    file = openSync(draft, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC, 0o600)
  } catch (error) {
    throw unwritable(path, error as NodeJS.ErrnoException)
  }
  try {
    const result = await work(chunk => {
      try {
        for (let done = 0; done < chunk.length; ) done += writeSync(file, chunk, done)
      } catch (error) {
        throw unwritable(path, error as NodeJS.ErrnoException)
      }
    })
    fsyncSync(file)
    closeSync(file)
    renameSync(draft, path)
    return result
  } catch (error) {
    rmSync(draft, { force: true })
    throw error
  }
}

function unwritable(path: string, { code, message }: NodeJS.ErrnoException): Fault {
  const found = code === 'ENOSPC' ? 'a full disk' : code === 'ENOENT' ? 'no such folder' : message
  return new Fault('FILE_UNWRITABLE', `expected to write ${path}, found ${found}`)
}
