// Judges a run through the proxy by its difference from the run without it.
//
//   node compare.mjs STRAIGHT THROUGH [CLIENT EXPECTED DOCUMENT]
//
// A check that passed without the proxy and fails with it, or whose client saw something else, is a new failure. With CLIENT the failures
// listed for it in EXPECTED may be there, and must be: each with the code of its refusal ("different" if nothing was refused and the client
// saw something else) and the heading of DOCUMENT that explains it. Exits 1 on any surprise.
import { readFileSync } from 'node:fs'

const [straightFile, throughFile, client, expectedFile, documentFile] = process.argv.slice(2)
const [straight, through] = [straightFile, throughFile].map(file => JSON.parse(readFileSync(file, 'utf8')))
const expected = new Map(client ? Object.entries(JSON.parse(readFileSync(expectedFile, 'utf8'))[client] ?? {}) : [])
const anchors = new Set(documentFile && [...readFileSync(documentFile, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title]) => title.toLowerCase().replace(/[^\p{L}\p{N}_ -]/gu, '').replaceAll(' ', '-')))
const key = result => `${result.group}: ${result.name}`
const cut = text => text.length > 400 ? `${text.slice(0, 400)} …` : text

let surprises = 0
const surprise = (kind, what, ...lines) => {
  surprises += 1
  console.log([`  ${kind}  ${what}`, ...lines].join('\n    '))
}

const other = new Map(through.map(result => [key(result), result]))
let compared = 0
let explained = 0
for (const result of straight) {
  const what = key(result)
  const same = other.get(what)
  const allowed = expected.get(what)
  expected.delete(what)
  if (!result.passed) {
    surprise('FAILED STRAIGHT', what, result.why)
    continue
  }
  compared += 1
  const refused = (same?.refused ?? []).map(({ request, code }) => `${request}  ${code}`)
  const [before, now] = [result, same].map(one => JSON.stringify(one?.seen))
  const failed = !same?.passed ? [same ? same.why : 'did not run', ...refused] : before !== now ? [`straight  ${cut(before)}`, `through   ${cut(now)}`, ...refused] : undefined
  if (!allowed) {
    if (failed) surprise('NEW FAILURE', what, ...failed)
  } else if (!failed) {
    surprise('NO LONGER FAILS', what, 'take it off the list')
  } else if (allowed.code === 'different' ? refused.length > 0 : !same?.refused.some(({ code }) => code === allowed.code)) {
    surprise('FAILS OTHERWISE', what, `expected ${allowed.code}`, ...failed)
  } else if (!anchors.has(allowed.explained)) {
    surprise('NOT EXPLAINED', what, `${documentFile} has no heading #${allowed.explained}`)
  } else {
    explained += 1
    console.log(`  explained  ${what}: ${allowed.code} (#${allowed.explained})`)
  }
}
for (const what of expected.keys()) surprise('NO SUCH CHECK', what, 'take it off the list')
if (compared === 0) surprise('NOTHING COMPARED', straightFile)
console.log(`${client ?? 'all'}: ${compared} checks compared, ${surprises === 0 ? 'zero new failures' : `${surprises} surprises`}${explained ? `, ${explained} explained` : ''}`)
process.exit(surprises === 0 ? 0 : 1)
