// Counts packets and bytes.
//
// Says how many after every thousand packets.

var packets = 0
var bytes = 0
var cut = 0

function onPacketCaptured(info) {
  packets++
  bytes += info.length
  if (info.truncated) cut++
  if (packets % 1000 !== 0) return
  console.log(
    packets + ' packets, ' + bytes + ' bytes on the wire' + (cut ? ', ' + cut + ' captured only in part' : ''),
  )
}
