/** `utils`: small things that scripts ask for. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'utils',
  inside({ nodeName }) {
    return { nodeName: () => nodeName }
  },
  later: ['json2Yaml'],
}
