import { golden } from '../testing/golden.ts'

describe('ws', () => {
  golden('ws')
})
