/** `hookline spool`: what waits to be delivered, what never will be, and what to do about it. */
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { type Command, InvalidArgumentError } from 'commander'
import { Fault } from '../core/fault.ts'
import type { Delivery } from '../integrations/delivery.ts'
import { EXIT } from './exit.ts'
import { defaultSpool, openDelivery } from './outbox.ts'
import { counted, grouped, printable } from './terminal.ts'

interface Options {
  spool: string
}

/** A receiver that answers at all answers within this. */
const PATIENCE_SECONDS = 30
const GIVE_UP = 'give up when nothing was delivered or refused for so long'

export function addSpool(program: Command): void {
  const spool = program.command('spool').description('alerts that wait for delivery, and dead letters')
  const add = (words: string, description: string) =>
    spool.command(words).description(description).option('--spool <dir>', 'the spool', defaultSpool())

  add('list', 'what waits, by destination, and the counts since the spool began').action(({ spool }: Options) =>
    withSpool(spool, list),
  )
  add('deliver', 'deliver what waits')
    .option('--seconds <n>', GIVE_UP, seconds, PATIENCE_SECONDS)
    .action(({ spool, seconds }: Options & { seconds: number }) =>
      withSpool(spool, async delivery => {
        await deliver(delivery, seconds)
      }),
    )
  add('dead', 'the dead letters, and why they could not be delivered').action(({ spool }: Options) =>
    withSpool(spool, dead),
  )
  add('retry', 'put dead letters back into the spool and deliver them')
    .argument('<id...>', 'as `spool dead` lists them, or: all')
    .option('--seconds <n>', GIVE_UP, seconds, PATIENCE_SECONDS)
    .action((ids: string[], { spool, seconds }: Options & { seconds: number }) =>
      withSpool(spool, async delivery => {
        for (const id of chosen(delivery, ids)) await delivery.redeliver(id)
        await deliver(delivery, seconds)
      }),
    )
  add('drop', 'throw dead letters away')
    .argument('<id...>', 'as `spool dead` lists them, or: all')
    .action((ids: string[], { spool }: Options) =>
      withSpool(spool, async delivery => {
        for (const id of chosen(delivery, ids)) await delivery.drop(id)
        await list(delivery)
      }),
    )
}

function seconds(text: string): number {
  const value = Number(text)
  if (!(value >= 0 && value <= 86_400)) throw new InvalidArgumentError('Expected seconds, from 0 to 86400.')
  return value
}

async function withSpool(directory: string, use: (delivery: Delivery) => void | Promise<void>): Promise<void> {
  // Opening one that is not there would make one.
  await access(join(directory, 'spool.db')).catch(() => {
    throw new Fault('SPOOL_MISSING', `there is no spool in ${directory}: nothing was ever sent from there`)
  })
  const delivery = await openDelivery(directory)
  try {
    await use(delivery)
  } finally {
    await delivery.close()
  }
}

async function deliver(delivery: Delivery, seconds: number): Promise<void> {
  const { deadLettered } = delivery.counts()
  delivery.run()
  await delivery.drain(seconds * 1000, { whileAnythingMoves: true })
  await list(delivery)
  const { spooled, deadLettered: dead } = delivery.counts()
  if (spooled > 0 || dead > deadLettered) process.exitCode = EXIT.undelivered
}

function chosen(delivery: Delivery, ids: string[]): string[] {
  return ids.length === 1 && ids[0] === 'all' ? delivery.deadLetters().map(({ id }) => id) : ids
}

async function list(delivery: Delivery): Promise<void> {
  const { produced, delivered, spooled, deadLettered, dropped, retries, refused } = delivery.counts()
  console.log(
    `${grouped(produced)} sent = ${grouped(delivered)} delivered + ${grouped(spooled)} in the spool + ${counted(deadLettered, 'dead letter')}`,
  )
  console.log(
    `${grouped(retries)} attempts failed, ${grouped(refused)} orders were refused, ${grouped(dropped)} dead letters thrown away`,
  )
  for (const { destination, spooled, attempts, cause } of await delivery.drain(0)) {
    const why = cause === null ? '' : `, tried ${counted(attempts, 'time')}: ${printable(cause)}`
    console.log(`  ${printable(destination)}: ${grouped(spooled)} waiting${why}`)
  }
}

function dead(delivery: Delivery): void {
  const letters = delivery.deadLetters()
  if (letters.length === 0) console.log('no dead letters')
  for (const { id, integration, script, destination, accepted, code, reason, attempts } of letters) {
    console.log(`${id}  ${new Date(accepted).toISOString()}  ${integration} of script "${printable(script)}"`)
    console.log(`  to ${printable(destination)}, ${counted(attempts, 'attempt')}: ${code}: ${printable(reason)}`)
  }
}
