// Judges the run through the proxy by its difference from the run without it.
//
//   node compare.mjs STRAIGHT THROUGH
//
// A check that passed without the proxy and fails with it, or whose client saw something else, is a new failure. Exits 1 if there is one.
import { readFileSync } from 'node:fs'

const [straight, through] = process.argv.slice(2).map(file => JSON.parse(readFileSync(file, 'utf8')))
const key = result => `${result.group}: ${result.name}`
const other = new Map(through.map(result => [key(result), result]))
let failures = 0
let compared = 0
for (const result of straight) {
  const same = other.get(key(result))
  if (!result.passed) continue
  compared += 1
  if (!same?.passed) {
    failures += 1
    console.log(`  NEW FAILURE  ${key(result)}: ${same ? same.why : 'did not run'}`)
  } else if (JSON.stringify(same.seen) !== JSON.stringify(result.seen)) {
    failures += 1
    const [before, now] = [result, same].map(({ seen }) => JSON.stringify(seen).slice(0, 400))
    console.log(`  DIFFERENT  ${key(result)}\n    straight  ${before}\n    through   ${now}`)
  }
}
if (compared === 0) {
  console.log('nothing was compared')
  process.exit(1)
}
console.log(`${compared} checks compared: ${failures === 0 ? 'zero new failures' : `${failures} new failures`}`)
process.exit(failures === 0 ? 0 : 1)
