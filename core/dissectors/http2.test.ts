import { golden } from '../testing/golden.ts'

describe('http2', () => {
  golden('http2')
})
