// Lists names that DNS does not know.
/// <reference path="../../scripting/script.d.ts" />

const asked = new Map<string, number>()

function onItemCaptured(data: Item): void {
  if (data.protocol.name !== 'dns' || data.response?.code !== 'NXDOMAIN') return
  for (const { name } of data.request?.questions ?? []) {
    const count = (asked.get(name) ?? 0) + 1
    asked.set(name, count)
    // 1, 2, 4, 8, …: a name that is asked for all day must not fill the console.
    if ((count & (count - 1)) === 0) console.log(`${name} does not exist (asked for ${count} times)`)
  }
}
