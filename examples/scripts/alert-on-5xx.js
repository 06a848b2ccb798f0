// Alerts Slack on bursts of 5xx.
//
// Five such answers of one service within ten seconds are a burst.
// Run with --env SLACK_WEBHOOK=https://hooks.slack.com/services/…

const BURST = 5
const WINDOW_MS = 10_000
// One outage is one alert, not one for every request that it hits.
const QUIET_MS = 30_000

const failures = new Map()
const quietUntil = new Map()

function onItemCaptured(data) {
  if (data.protocol.name !== 'http' || !data.response || data.response.status < 500) return
  const service = serviceOf(data)
  const recent = (failures.get(service) || []).filter(failure => failure.at > data.timestamp - WINDOW_MS)
  recent.push({ at: data.timestamp, what: describe(data) })
  failures.set(service, recent)
  if (recent.length < BURST || data.timestamp < (quietUntil.get(service) || 0)) return
  quietUntil.set(service, data.timestamp + QUIET_MS)

  const title = `${service}: ${recent.length} answers of 5xx within ${WINDOW_MS / 1000} s`
  const text = recent.map(failure => failure.what).join('\n')
  vendor.slack(env.SLACK_WEBHOOK, title, text, 'danger')
  // Reached only when the alert is safe on disk: from here on it is delivered, whatever happens to this process.
  console.log(`alert: ${title}`)
}

function describe(data) {
  const asked = data.request ? `${data.request.method} ${data.request.path}` : 'an answer without its request'
  const took = data.elapsedTime === null ? '' : ` after ${Math.round(data.elapsedTime)} ms`
  return `${new Date(data.timestamp).toISOString().slice(11, 23)} ${asked}: ${data.response.status}${took}`
}

function serviceOf(data) {
  if (data.dst.name) return data.dst.name
  const headers = data.request ? data.request.headers : {}
  const host = Object.keys(headers).find(name => name.toLowerCase() === 'host')
  return host ? headers[host] : `${data.dst.ip}:${data.dst.port}`
}
