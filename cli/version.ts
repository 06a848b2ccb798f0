/** `hookline version` */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'

export function addVersion(program: Command): void {
  program
    .command('version')
    .description('print the version')
    .action(async () => {
      console.log(await described())
    })
}

export async function described(): Promise<string> {
  return `hookline ${await version()} (Node ${process.versions.node})`
}

export async function version(): Promise<string> {
  return JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')).version
}
