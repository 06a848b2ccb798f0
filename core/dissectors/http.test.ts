/** HTTP/1 against its captures. */
import { golden } from '../testing/golden.ts'

describe('http', () => {
  golden('http')
})
