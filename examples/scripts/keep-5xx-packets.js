// Keeps the packets of failures: a pcap of each connection on which a server answered with 5xx.
const kept = new Set()

function onItemCaptured(data) {
  if (data.protocol.name !== 'http' || !data.response || data.response.status < 500 || kept.has(data.stream)) return
  kept.add(data.stream)
  console.log(`${data.request.path} answered ${data.response.status}: ${pcap.path(data.stream)}`)
}
