/** `test`: marks an item as passed (green) or failed (red) and gives it back. */
import type { Helper } from '../helper.ts'

export const helper: Helper = {
  name: 'test',
  inside() {
    return {
      pass(data: { passed: boolean }) {
        data.passed = true
        return data
      },
      fail(data: { failed: boolean }) {
        data.failed = true
        return data
      },
    }
  },
}
