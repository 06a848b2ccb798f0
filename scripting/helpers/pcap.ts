/** `pcap`: the packets behind items, as files. A call returns the path of a file that is there. */
import type { Helper } from '../helper.ts'

declare module '../helper.ts' {
  interface SendOrders {
    'pcap.path': { stream: string }
  }
}

export const helper: Helper = {
  name: 'pcap',
  calls: {
    path: {
      order: args => ({ kind: 'pcap.path', stream: args.text(0, 'stream') }),
      value: reply => reply.body,
    },
  },
  later: ['nameResolutionHistory', 'snapshot'],
}
