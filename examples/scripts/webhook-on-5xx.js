// Posts every 5xx to a webhook.
//
// Run with --env WEBHOOK_URL=https://example.com/hook

function onItemCaptured(data) {
  if (data.protocol.name !== 'http' || !data.response || data.response.status < 500) return
  var body = {
    id: data.id,
    time: data.startTime,
    client: data.src.name || data.src.ip,
    server: data.dst.name || data.dst.ip,
    method: data.request && data.request.method,
    path: data.request && data.request.path,
    status: data.response.status,
    elapsedTime: data.elapsedTime,
  }
  vendor.webhook('POST', env.WEBHOOK_URL, JSON.stringify(body), { 'Content-Type': 'application/json' })
  console.log('posted ' + data.id)
}
