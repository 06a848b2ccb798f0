// Prints the slowest routes.
//
// By their 95th percentile, after every fifteen seconds of traffic.

const EVERY_MS = 15_000
const SHOWN = 5
// So many times of each route are kept: a busy route must not grow without end.
const MAX_KEPT = 1000

const routes = new Map()
let next = 0

function onItemCaptured(data) {
  if (next === 0) next = data.timestamp + EVERY_MS
  if (data.timestamp > next) {
    print()
    next = data.timestamp + EVERY_MS
  }
  if (data.protocol.name !== 'http' || !data.request || data.elapsedTime === null) return
  // /products/1001 and /products/1002 are one route.
  const path = data.request.path.replace(/\/\d+(?=\/|$)/g, '/:id')
  const route = `${data.request.method} ${hostOf(data)}${path}`
  const times = routes.get(route) || []
  if (times.length === MAX_KEPT) times.shift()
  times.push(data.elapsedTime)
  routes.set(route, times)
}

function print() {
  const slowest = [...routes]
    .map(([route, times]) => ({ route, count: times.length, p95: percentile(times, 95), worst: Math.max(...times) }))
    .sort((a, b) => b.p95 - a.p95)
    .slice(0, SHOWN)
  console.log('     p95    worst  count  route')
  for (const { route, count, p95, worst } of slowest)
    console.log(`${ms(p95)} ${ms(worst)} ${String(count).padStart(6)}  ${route}`)
}

function percentile(times, percent) {
  const sorted = times.toSorted((a, b) => a - b)
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1]
}

function hostOf(data) {
  const host = Object.keys(data.request.headers).find(name => name.toLowerCase() === 'host')
  return host ? data.request.headers[host] : data.dst.ip
}

function ms(value) {
  return `${value.toFixed(0)} ms`.padStart(8)
}
