// Searches everything the server and the proxy have for values that must not be there.
//
//   node scan.mjs STRAIGHT_CANARIES[,…] STRAIGHT_FOLDER THROUGH_CANARIES[,…] SERVER_URL SERVER_FOLDER PROXY_FOLDER
//
// The unprotected control values must be found in the same places, and what the same program wrote in clear in the files of the server it
// wrote to, or the search proves nothing.
// Looks for plain text, JSON escapes, URL encoding, base64 and base64url at each alignment, hex, UTF-16. Exits 1 on any surprise.
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const [straightFiles, straightFolder, throughFiles, serverUrl, serverFolder, proxyFolder] = process.argv.slice(2)
const read = list => {
  const all = list.split(',').map(file => JSON.parse(readFileSync(file, 'utf8')))
  return { protected: all.flatMap(known => known.protected), control: all.flatMap(known => known.control) }
}
const [straight, through] = [straightFiles, throughFiles].map(read)

const escapes = (text, from, hex) => [...text].map(c => c.charCodeAt(0) < from && c.length === 1 ? c : [...Array(c.length).keys()].map(i => '\\u' + hex(c.charCodeAt(i).toString(16).padStart(4, '0'))).join('')).join('')

// Every spelling of a text, as bytes, by name.
function spellings (text) {
  const bytes = Buffer.from(text)
  const all = {
    text: bytes,
    'text in JSON': Buffer.from(JSON.stringify(text).slice(1, -1)),
    'JSON escapes': Buffer.from(escapes(text, 128, hex => hex)),
    'JSON escapes, upper case': Buffer.from(escapes(text, 128, hex => hex.toUpperCase())),
    'JSON escapes throughout': Buffer.from(escapes(text, 0, hex => hex)),
    'URL encoding': Buffer.from(encodeURIComponent(text)),
    'URL encoding of a form': Buffer.from(new URLSearchParams([['', text]]).toString().slice(1)),
    hex: Buffer.from(bytes.toString('hex')),
    'hex, upper case': Buffer.from(bytes.toString('hex').toUpperCase()),
    'UTF-16LE': Buffer.from(text, 'utf16le'),
    'UTF-16BE': Buffer.from(text, 'utf16le').swap16()
  }
  // Only the characters that depend on nothing before and after the text.
  for (const shift of [0, 1, 2]) {
    const whole = Buffer.concat([Buffer.alloc(shift), bytes])
    const kept = Math.floor(whole.length / 3) * 4
    const first = shift === 0 ? 0 : 4
    all[`base64 at ${shift}`] = Buffer.from(whole.toString('base64').slice(first, kept))
    all[`base64url at ${shift}`] = Buffer.from(whole.toString('base64url').slice(first, kept))
  }
  return Object.entries(all).filter(([, form], at, list) => list.findIndex(([, other]) => other.equals(form)) === at)
}

// The names of the spellings in which a place holds a text.
const found = (place, text) => spellings(text).filter(([, form]) => place.bytes.includes(form)).map(([name]) => name)

function files (folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? files(path) : entry.isFile() ? [{ name: path.slice(folder.length + 1), bytes: readFileSync(path) }] : []
  })
}

async function ask (path, options) {
  const reply = await fetch(serverUrl + path, { headers: { accept: 'application/json', 'content-type': 'application/json' }, ...options })
  return { name: `${options?.method ?? 'GET'} ${path.slice(0, 60)}`, status: reply.status, bytes: Buffer.from(await reply.arrayBuffer()) }
}

// All that the server itself answers: every document of every database, every revision, feeds, settings.
async function answers () {
  const places = []
  for (const path of ['/', '/_all_dbs', '/_active_tasks', '/_config', '/_log?bytes=10000000', '/_stats']) places.push(await ask(path))
  const databases = JSON.parse((await ask('/_all_dbs')).bytes)
  for (const name of databases) {
    const database = `/${encodeURIComponent(name)}`
    for (const path of ['', '/_all_docs?include_docs=true&conflicts=true&attachments=true', '/_changes?include_docs=true&style=all_docs&attachments=true', '/_security']) places.push(await ask(database + path))
    for (const { id, changes } of JSON.parse((await ask(`${database}/_changes?style=all_docs`)).bytes).results) {
      const document = `${database}/${id.startsWith('_design/') ? id : encodeURIComponent(id)}`
      places.push(await ask(`${document}?revs=true&revs_info=true&attachments=true&rev=${changes[0].rev}`))
      const { _revisions: revisions } = JSON.parse(places.at(-1).bytes)
      for (const [older, hash] of (revisions?.ids ?? []).slice(1).entries()) places.push(await ask(`${document}?rev=${revisions.start - older - 1}-${hash}`))
    }
  }
  return places
}

let wrong = 0
const complain = text => { wrong += 1; if (wrong <= 20) console.log(`  ${text}`) }

// First: does the search find what is there, in every spelling, wherever it stands?
for (const text of ['q0planted田é "x"', '+81 3 55501234']) {
  for (const [name, form] of spellings(text)) {
    for (const before of ['', 'a', 'ab']) {
      const place = name.startsWith('base64')
        ? { bytes: Buffer.from(Buffer.concat([Buffer.from('x'.repeat(3 + Number(name.at(-1)))), Buffer.from(text), Buffer.from('tail')]).toString(name.split(' ')[0])) }
        : { bytes: Buffer.concat([Buffer.from(before), form, Buffer.from('z')]) }
      if (!found(place, text).includes(name)) complain(`the search does not find ${name}`)
    }
  }
}

const own = await answers()
const places = { 'the files of the server': files(serverFolder), 'the answers of the server': own }
if (!own.some(place => place.status === 200) || own.length < 100) complain(`the server answered only ${own.length} questions`)
// One search over all bytes of a kind of place; the place is looked up only when something is found.
const joined = list => ({ bytes: Buffer.concat(list.flatMap(place => [place.bytes, Buffer.from('\n\0\n')])) })
const where = (list, text) => list.filter(place => found(place, text).length > 0).map(place => place.name).slice(0, 3).join(', ')

for (const [what, list] of Object.entries({ ...places, 'the files of the proxy': files(proxyFolder) })) {
  const all = joined(list)
  let hits = 0
  for (const value of through.protected) {
    const names = found(all, value)
    if (names.length > 0) {
      hits += 1
      complain(`${what}: a protected value stands as ${names.join(', ')} in ${where(list, value)}`)
    }
  }
  console.log(`  ${what}: ${list.length} places, ${all.bytes.length} bytes; ${hits} of ${through.protected.length} protected values found`)
}
for (const [what, list] of Object.entries(places)) {
  const all = joined(list)
  const controls = through.control.filter(value => found(all, value).length > 0).length
  console.log(`  ${what}: ${controls} of ${through.control.length} unprotected control values found`)
  if (controls !== through.control.length) complain(`${what}: the search missed a control value, so it proves nothing`)
}
// What the same program stored without the proxy is found: the search would have seen ours. (Not all: some were refused as conflicts, one database was deleted.)
const clear = joined(files(straightFolder))
const seen = straight.protected.filter(value => found(clear, value).length > 0).length
console.log(`  the files of the run without Sudare: ${seen} of ${straight.protected.length} of its values found`)
if (seen < straight.protected.length * 0.85) complain('the search missed values that were stored in clear, so it proves nothing')

console.log(wrong === 0 ? 'nothing protected was found' : `${wrong} findings`)
process.exit(wrong === 0 ? 0 : 1)
