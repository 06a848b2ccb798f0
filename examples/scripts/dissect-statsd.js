// Reads StatsD metrics, and prints the busiest names.
// A protocol of one's own: `dissector` says when bytes belong to it, and what a message is.

// name:value|type, perhaps a sample rate |@0.1 and tags |#a:b
const METRIC = /^([\w.-]+):([+-]?\d+(?:\.\d+)?)\|(c|g|ms|h|s)(?:\|@([\d.]+))?(?:\|#(\S+))?$/

dissector({
  name: 'statsd',
  title: 'StatsD metrics',
  abbr: 'STATSD',
  color: '#2f9e44',
  reference: 'https://github.com/statsd/statsd/blob/master/docs/metric_types.md',
  transports: ['udp'],
  ports: [8125],

  // Do these bytes begin a message? Say yes to what cannot be anything else.
  probe: (at, from) => from === 'client' && lines(at).every(line => METRIC.test(line)),

  // One message from the cursor. An event is neither a request nor an answer.
  read(at) {
    const metrics = lines(at).map(line => {
      const [, name, value, type, rate = '1', tags = ''] = METRIC.exec(line) ?? at.fail('name:value|type')
      return { name, value: Number(value), type, rate: Number(rate), tags: tags.split(',').filter(Boolean) }
    })
    return { kind: 'event', body: { method: 'PUSH', summary: metrics.map(({ name }) => name).join(' '), metrics } }
  },
})

function lines(at) {
  return at.text(at.remaining).trimEnd().split('\n')
}

const seen = new Map()

function onItemCaptured(item) {
  if (item.protocol.name !== 'statsd') return
  for (const { name } of item.event.metrics) seen.set(name, (seen.get(name) ?? 0) + 1)
  const busiest = [...seen].sort(([, a], [, b]) => b - a).slice(0, 3)
  console.log(busiest.map(([name, count]) => `${name} ${count}`).join(', '))
}
