/** `hookline version` */
import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'

export function addVersion(program: Command): void {
  program
    .command('version')
    .description('print the version')
    .action(async () => {
      const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
      console.log(`hookline ${version} (Node ${process.versions.node})`)
    })
}
