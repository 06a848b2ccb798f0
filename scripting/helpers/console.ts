/** `console`: lines for the person who watches the script. Arguments are joined by a blank, objects shown as JSON. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'console',
  inside({ print }) {
    const { stringify } = JSON
    function shown(value: unknown): string {
      if (typeof value === 'string') return value
      if (value instanceof Error) return `${value.name}: ${value.message}`
      if (typeof value === 'object' && value !== null) {
        try {
          return stringify(value) ?? String(value)
        } catch (error) {
          return `[${Object.prototype.toString.call(value)}: ${(error as Error).message}]`
        }
      }
      return String(value)
    }
    const joined = (values: unknown[]): string => values.map(shown).join(' ')
    return {
      log: (...values: unknown[]) => print('log', joined(values)),
      info: (...values: unknown[]) => print('log', joined(values)),
      warn: (...values: unknown[]) => print('error', joined(values)),
      error: (...values: unknown[]) => print('error', joined(values)),
      clear: () => print('clear', ''),
    }
  },
}
