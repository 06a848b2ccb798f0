/** `hookline new script NAME`: a starter with every hook, commented, and types for the editor. */
import { open, rm } from 'node:fs/promises'
import { basename, extname, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Command } from 'commander'
import { Fault } from '../core/fault.ts'
import { printable } from './terminal.ts'

const HOME = fileURLToPath(new URL('..', import.meta.url))
const TYPES = `${HOME}scripting/script.d.ts`

export function addNew(program: Command): void {
  const command = program.command('new').description('write a starter')
  command
    .command('script')
    .description('write a script with every hook in it, ready to run')
    .argument('<name>', 'where to: NAME.js in this folder, unless it is a path with an ending')
    .option('--typescript', 'write NAME.ts')
    .addHelpText(
      'after',
      `
Examples:
  $ hookline new script slow-answers
  $ hookline new script scripts/slow-answers --typescript`,
    )
    .action(async (name: string, { typescript }: { typescript?: true }) => {
      const path = await writeStarter(name, typescript ? '.ts' : '.js')
      const here = relative(process.cwd(), HOME) || '.'
      const capture = relative(process.cwd(), `${HOME}examples/captures/shop.pcap`)
      const trial = [`${here}/hookline`, 'run', path.startsWith('-') ? `./${path}` : path, '--pcap', capture]
        .map(shellWord)
        .join(' ')
      console.log(printable(`${path} is written. Try it: ${trial}`))
    })
}

async function writeStarter(name: string, ending: '.js' | '.ts'): Promise<string> {
  const given = extname(name)
  // What has a digit is a part of the name: `slow-v1.2`.
  const wrongEnding = /^\.[a-z]+$/i.test(given) && given !== ending
  if (wrongEnding || name.endsWith('/') || ['', '.', '..', ending].includes(basename(name)))
    throw new Fault('SCRIPT_NAME', `expected a name that ends in ${ending}, or in nothing, found "${name}"`)
  const path = given === ending ? name : name + ending
  const folder = resolve(path, '..')
  const types = relative(folder, TYPES)
  const title = basename(path, ending)
    .replace(/[-_\s]+/g, ' ')
    .trim()
  const text = starter(title.charAt(0).toUpperCase() + title.slice(1), types, ending)
  const file = await open(path, 'wx').catch(error => {
    throw unwritable(path, folder, error)
  })
  try {
    await file.writeFile(text)
  } catch (error) {
    // Half a starter would be in the way of the next try.
    await rm(path, { force: true })
    throw unwritable(path, folder, error as NodeJS.ErrnoException)
  } finally {
    await file.close()
  }
  return path
}

function unwritable(path: string, folder: string, { code, message }: NodeJS.ErrnoException): Fault {
  if (code === 'EEXIST') return new Fault('SCRIPT_EXISTS', `${path} is there already; it was not touched`)
  if (code === 'ENOENT' || code === 'ENOTDIR') return new Fault('FOLDER_MISSING', `there is no folder ${folder}`)
  if (code === 'EACCES' || code === 'EROFS') return new Fault('SCRIPT_NOT_WRITABLE', `${path} may not be written here`)
  const found = code === 'ENOSPC' || code === 'EDQUOT' ? 'a full disk' : message
  return new Fault('SCRIPT_NOT_WRITABLE', `expected to write ${path}, found ${found}`)
}

/** Quoted where a shell would read it otherwise. */
function shellWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`
}

function starter(title: string, types: string, ending: '.js' | '.ts'): string {
  const typed = ending === '.ts'
  return `// ${title}: the first comment is the script's title.
/// <reference path="${types}" />
${typed ? '' : '// @ts-check\n'}
// This part runs once, at the start. What is declared here stays from hook to hook.
let slow = 0

/**
 * Every request with its answer, as soon as it is complete; also one without an answer, and an event.
 * \`data.protocol.name\` is \`http\`, \`dns\`, \`redis\`, …; print \`JSON.stringify(data, null, 2)\` once to see all there is.
 */
${typed ? 'function onItemCaptured(data: Item): void {' : '/** @param {Item} data */\nfunction onItemCaptured(data) {'}
  if (data.elapsedTime === null || data.elapsedTime < 300) return
  slow++
  console.log(\`\${data.protocol.abbr} \${data.dst.ip}:\${data.dst.port} took \${Math.round(data.elapsedTime)} ms (slow: \${slow})\`)

  // Values come from the command line: --env SLACK_WEBHOOK=https://hooks.slack.com/services/…
  // vendor.slack(env.SLACK_WEBHOOK, 'Slow answer', JSON.stringify(data.request), 'warning')
  // vendor.webhook('POST', env.WEBHOOK_URL, JSON.stringify(data), { 'Content-Type': 'application/json' })
}

/**
 * Every packet: many thousands a second. Uncomment it when you need it; without it packets cost nothing.
 */
// ${typed ? 'function onPacketCaptured(info: PacketInfo): void {' : 'function onPacketCaptured(info) {'}
//   if (info.truncated) console.log(\`captured \${info.captureLength} of \${info.length} bytes\`)
// }
`
}
