/** `env`: the settings that were handed to scripts, a frozen copy. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'env',
  inside({ env }) {
    function frozen(value: object): object {
      for (const one of Object.values(value)) if (typeof one === 'object' && one !== null) frozen(one)
      return Object.freeze(value)
    }
    return frozen(JSON.parse(env))
  },
}
