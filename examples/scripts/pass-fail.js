// Marks every HTTP answer as passed or, from status 500 on, as failed, and prints the score after each failure.

var passed = 0
var failed = 0

function onItemCaptured(data) {
  if (data.protocol.name !== 'http' || !data.response) return
  if (data.response.status < 500) {
    passed++
    return test.pass(data)
  }
  failed++
  console.error(
    (data.request ? data.request.path : data.id) +
      ': ' +
      data.response.status +
      ' (' +
      passed +
      ' passed, ' +
      failed +
      ' failed)',
  )
  return test.fail(data)
}
