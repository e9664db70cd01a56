// Loads clear documents, starts the proxy and writers, sweeps, turns strict on, and counts: clear values left, updates lost.
//
// Every document has two counters, one in an unprotected member and one inside a protected one. Writers add one to both through the
// proxy (read, change, write on the revision read), and this program remembers how often it was told that it was done.
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const [serverProgram, sudare, work] = process.argv.slice(2, 5)
const [documents, rate, seconds] = process.argv.slice(5, 8).map(Number)
const sweepRate = process.argv[8] === '0' ? [] : ['--rate', process.argv[8]]
if (![documents, rate, seconds].every((number) => Number.isInteger(number) && number > 0)) {
  console.error('usage: run [DOCUMENTS [WRITES_PER_SECOND [SECONDS [SWEEP_RATE]]]], all whole numbers from 1')
  process.exit(2)
}

const running = []
let failures = 0
const check = (what, good, detail = '') => {
  console.log(`  ${good ? 'ok    ' : 'FAILED'}  ${what}${good ? '' : `  ${detail}`}`)
  if (!good) failures++
}
const since = (start) => ((performance.now() - start) / 1000).toFixed(1)
const idOf = (number) => `c-${String(number).padStart(7, '0')}`

function start(name, program, args, options = {}) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options })
  child.text = ''
  const log = createWriteStream(`${work}/${name}.log`)
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => { log.write(data); if (child.text.length < 1e6) child.text += data })
  }
  child.ended = new Promise((resolve) => child.on('close', (code) => { child.code = code; resolve(code) }))
  running.push(child)
  return child
}

async function until(what, condition, patience = 60_000) {
  const end = performance.now() + patience
  while (performance.now() < end) {
    if (await condition()) return
    await sleep(100)
  }
  throw new Error(`${what} did not come within ${patience / 1000} s`)
}

function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function json(url, options = {}) {
  const response = await fetch(url, options)
  return { status: response.status, body: await response.json() }
}

// All documents, page by page, as `headers` may see them.
async function * all(url, headers = {}) {
  let after = ''
  for (;;) {
    const from = after ? `&startkey=${encodeURIComponent(JSON.stringify(after))}&skip=1` : ''
    const { status, body } = await json(`${url}/customers/_all_docs?include_docs=true&limit=500${from}`, { headers })
    if (status !== 200) throw new Error(`_all_docs answers ${status}: ${JSON.stringify(body)}`)
    for (const row of body.rows) yield row.doc
    if (body.rows.length < 500) return
    after = body.rows.at(-1).id
  }
}

const sealed = (value) => value === null || (typeof value === 'string' && value.startsWith('sdr1.'))
const clearValues = (document) => [document.name, document.address, ...document.phones].filter((value) => !sealed(value)).length

async function main() {
  // --- the server, with what it held before there was a proxy
  mkdirSync(`${work}/data`)
  const port = await freePort()
  const server = start('server', 'node', [serverProgram, '-o', '127.0.0.1', '-p', String(port), '-d', 'data', '-c', 'config.json', '-n'], { cwd: work })
  const serverUrl = `http://127.0.0.1:${port}`
  await until('pouchdb-server', () => {
    if (server.code !== undefined) throw new Error('pouchdb-server ended')
    return json(serverUrl).then(({ body }) => Boolean(body['express-pouchdb']), () => false)
  })
  const began = performance.now()
  await json(`${serverUrl}/customers`, { method: 'PUT' })
  for (let from = 0; from < documents; from += 1000) {
    const docs = []
    for (let number = from; number < Math.min(from + 1000, documents); number++) {
      docs.push({ _id: idOf(number), name: 'Canary 0', address: `${number} Canary Street, Chiyoda`, phones: [`+81 3 ${number}`, null], count: 0, tier: 'gold' })
    }
    const { body } = await json(`${serverUrl}/customers/_bulk_docs`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ docs }) })
    if (!Array.isArray(body) || body.some((row) => row.error)) throw new Error(`loading: ${JSON.stringify(body).slice(0, 300)}`)
  }
  const attached = 'kept as it is'
  await fetch(`${serverUrl}/customers/${idOf(0)}/note.txt?rev=${(await json(`${serverUrl}/customers/${idOf(0)}`)).body._rev}`, { method: 'PUT', headers: { 'content-type': 'text/plain' }, body: attached })
  console.log(`${documents} clear documents loaded in ${since(began)} s`)

  // --- the proxy, lenient while migrating
  const secret = randomBytes(32).toString('base64url')
  const config = `${work}/sudare.toml`
  const here = new URL('.', import.meta.url)
  const template = readFileSync(new URL('sudare.toml', here), 'utf8')
  const written = (strict) => template.replace('@UPSTREAM@', serverUrl).replace('@STRICT@', strict)
    .replace('@SHOP@', createHash('sha256').update(secret).digest('hex'))
  writeFileSync(config, written('false'))
  writeFileSync(`${work}/policy.toml`, readFileSync(new URL('policy.toml', here)))
  const keys = start('keys', sudare, ['keys', 'init', '-c', config])
  if (await keys.ended !== 0) throw new Error(keys.text)
  const proxy = start('proxy', sudare, ['serve', '-c', config])
  await until('sudare serve', () => {
    if (proxy.code !== undefined) throw new Error(`sudare serve ended: ${proxy.text}`)
    return /^listening on /m.test(proxy.text)
  })
  const proxyUrl = `http://${/^listening on (\S+)$/m.exec(proxy.text)[1]}`
  const headers = { 'sudare-credential': `shop.${secret}`, 'data-purpose': 'account', 'content-type': 'application/json' }

  let control = 0
  for await (const document of all(serverUrl)) control += clearValues(document)
  check(`before: the search finds the ${documents * 3} clear values there are`, control === documents * 3, control)

  // --- writers
  const expected = new Map()
  let stopping = false
  const tally = { done: 0, conflicts: 0, late: 0 }
  async function update(id) {
    for (;;) {
      const { status, body } = await json(`${proxyUrl}/customers/${id}`, { headers })
      if (status !== 200) throw new Error(`GET answers ${status}: ${JSON.stringify(body)}`)
      body.count += 1
      body.name = `Canary ${Number(body.name.slice('Canary '.length)) + 1}`
      const put = await json(`${proxyUrl}/customers/${id}`, { method: 'PUT', headers, body: JSON.stringify(body) })
      if (put.status === 201) {
        expected.set(id, (expected.get(id) ?? 0) + 1)
        tally.done++
        return
      }
      if (put.status !== 409) throw new Error(`PUT answers ${put.status}: ${JSON.stringify(put.body)}`)
      tally.conflicts++
    }
  }
  async function writers() {
    const begun = performance.now()
    const inFlight = new Set()
    let broken
    for (let count = 0; !stopping && !broken; count++) {
      await sleep(Math.max(0, begun + count * 1000 / rate - performance.now()))
      if (inFlight.size >= 32) {
        tally.late++
        await Promise.race(inFlight)
      }
      // One in five goes to a few documents that everybody wants; the others anywhere.
      const number = Math.floor(Math.random() * (count % 5 === 0 ? Math.min(20, documents) : documents))
      const one = update(idOf(number)).catch((error) => { broken = error }).finally(() => inFlight.delete(one))
      inFlight.add(one)
    }
    await Promise.all(inFlight)
    if (broken) throw broken
    return (performance.now() - begun) / 1000
  }
  const writing = writers()
  writing.catch(() => {})
  await sleep(Math.min(2000, seconds * 250))

  // --- the sweep, beside them
  const words = ['sweep', 'migrate', '-c', config, '--collection', 'customers']
  const killed = start('killed', sudare, [...words, '--rate', String(Math.ceil(documents / 4)), '--parallel', '1'])
  await sleep(1000)
  killed.kill('SIGKILL')
  await killed.ended
  const { body: page } = await json(`${serverUrl}/customers/_all_docs?include_docs=true&limit=${documents}`)
  const done = page.rows.filter(({ doc }) => clearValues(doc) === 0).length
  check(`a first sweep was killed with ${done} documents sealed`, done > 0 && done < documents)
  const sweep = start('sweep', sudare, [...words, ...sweepRate])
  const [code] = await Promise.all([sweep.ended, sleep(Math.max(0, (seconds - 2) * 1000))])
  stopping = true
  const writeSeconds = await writing
  console.log(sweep.text.trimEnd().replace(/^/gm, '    '))
  check('the sweep ends with 0 clear values left', code === 0 && sweep.text.includes('0 clear values left in customers'), `exit ${code}`)

  // --- from now on clear values are refused
  writeFileSync(config, written('true'))
  proxy.kill('SIGHUP')
  await until('the reload', () => proxy.text.includes('"message":"reloaded"'))

  // --- what the database itself holds, and what the proxy shows of it
  let left = 0
  let lost = 0
  let found = 0
  for await (const document of all(serverUrl)) {
    found++
    left += clearValues(document)
    if (document.count !== (expected.get(document._id) ?? 0)) lost++
  }
  check(`all ${documents} documents are there`, found === documents, found)
  check('0 clear values in the database\'s own answers', left === 0, left)
  check('0 updates lost in the member that is not protected', lost === 0, lost)
  lost = 0
  found = 0
  for await (const document of all(proxyUrl, headers)) {
    found++
    if (document.name !== `Canary ${expected.get(document._id) ?? 0}`) lost++
  }
  check('0 updates lost in the protected member, read with strict = true', lost === 0 && found === documents, `${lost} of ${found}`)
  const note = await fetch(`${serverUrl}/customers/${idOf(0)}/note.txt`)
  check('an attachment is still there', note.status === 200 && await note.text() === attached, note.status)
  await json(`${serverUrl}/customers/planted`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: '{"name":"Canary"}' })
  const refused = await json(`${proxyUrl}/customers/planted`, { headers })
  check('a clear value planted now is refused', refused.status === 500 && JSON.stringify(refused.body).includes('value-not-authentic'), refused.status)
  check('writers wrote', tally.done > 0)
  console.log(`${tally.done} updates in ${writeSeconds.toFixed(1)} s (${(tally.done / writeSeconds).toFixed(1)}/s of ${rate}/s wanted), ${tally.conflicts} of them tried again after a conflict`)
}

try {
  await main()
} catch (error) {
  console.log(`  FAILED  ${error.message}`)
  failures++
}
for (const child of running.reverse()) {
  if (child.code !== undefined) continue
  child.kill('SIGTERM')
  await Promise.race([child.ended, sleep(15_000).then(() => child.kill('SIGKILL'))])
}
console.log(failures ? `migration: ${failures} failed` : 'migration: all passed')
process.exit(failures ? 1 : 0)
