import { golden } from '../testing/golden.ts'

describe('grpc', () => {
  golden('grpc')
})
