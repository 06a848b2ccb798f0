// Passes or fails HTTP answers.
//
// From status 500 on an answer has failed; each failure is printed, with the score so far.

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
