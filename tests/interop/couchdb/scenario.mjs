// One application's use of CouchDB through npm `nano`, straight or through Sudare: the same checks either way.
//
//   node scenario.mjs URL RESULTS CANARIES [SECRETS]
//
// With SECRETS (a JSON file, caller name to secret) every request carries a credential and a purpose. Exits 0 when it ran to its end;
// whether what failed may fail is for compare.mjs to say.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Canaries, Checks, assert, failure } from './checks.mjs'

const require = createRequire(process.env.INTEROP_PACKAGES + '/package.json')
const nano = require('nano')
const [url, resultsFile, canariesFile, secretsFile] = process.argv.slice(2)
const secrets = secretsFile && JSON.parse(readFileSync(secretsFile, 'utf8'))
const headers = secrets ? { 'Sudare-Credential': `shop.${secrets.shop}`, 'Data-Purpose': 'registration' } : {}

const checks = new Checks()
// The library reports its requests and what became of them, so that refusals are known by their code.
let method
const log = entry => {
  method = entry.method ?? method
  if (entry.err === 'couch') checks.refusal(method, entry.headers.uri, JSON.stringify(entry.body))
}
const server = nano({ url, headers, log })
const customers = server.use('customers')
const canaries = new Canaries()
const check = checks.check.bind(checks)
const isRev = (rev, generation) => assert.match(rev, new RegExp(`^${generation}-[0-9a-f]{32}$`))
const bare = ({ _id, _rev, ...rest }) => rest
// `type` is ours; the rest must be as the database says it.
const databaseFailure = async promise => {
  const { status, error, reason } = await failure(promise)
  return { status, error, reason }
}

function customer (tier = 'gold') {
  return {
    name: canaries.text(`Mei Tanaka 田中 "é" ${canaries.word()}`),
    address: `101-0047 Uchikanda ${canaries.word()}`,
    phones: [`+81 3 ${canaries.digits(14)}`, `+81 90 ${canaries.digits(14)}`],
    national_id: canaries.digits(16),
    history: { since: 2019, moved: [canaries.word(), null, { street: canaries.word() }] },
    tier,
    points: 1.5,
    tags: ['a', { b: [] }, null, true]
  }
}

// Words that many values hold, so that not every one of those is searched for on its own.
const words = Object.fromEntries(['name', 'address', 'phone', 'id', 'moved'].map(member => [member, canaries.word()]))

// --- the server and its databases
await check('server', 'welcome', async () => {
  const info = await server.request('')
  assert.ok(info.version)
  return Object.keys(info).sort()
})
await check('server', 'make a database', async () => server.db.create('customers'))
await check('server', 'make it again: exists already', async () => {
  const seen = await databaseFailure(server.db.create('customers'))
  assert.equal(seen.status, 412)
  return seen
})
await check('server', 'list of databases', async () => {
  const list = await server.db.list()
  assert.ok(list.includes('customers'))
  return list.filter(name => !name.startsWith('_'))
})
await check('server', 'about the database', async () => {
  const info = await customers.info()
  assert.equal(info.doc_count, 0)
  return Object.keys(info).sort()
})
await check('server', 'about a database that is not there', async () => {
  const seen = await databaseFailure(server.db.get('nothing_here'))
  assert.equal(seen.status, 404)
  return seen
})
await check('server', 'ids from the server', async () => {
  const { uuids } = await server.uuids(3)
  assert.equal(uuids.length, 3)
})
await check('server', 'security, commit', async () => {
  const security = await server.request({ db: 'customers', path: '_security' })
  const commit = await server.request({ db: 'customers', path: '_ensure_full_commit', method: 'POST', body: {} })
  return { security, commit: commit.ok }
})
await check('server', 'limit of revisions, which this server does not know', async () => {
  const seen = await databaseFailure(server.request({ db: 'customers', path: '_revs_limit' }))
  assert.equal(seen.status, 404)
  return seen
})

// --- one document
const first = customer()
const revs = []
await check('document', 'create under an id', async () => {
  const reply = await customers.insert(first, 'c-1')
  isRev(reply.rev, 1)
  revs.push(reply.rev)
  return { ok: reply.ok, id: reply.id }
})
await check('document', 'read it', async () => {
  const found = await customers.get('c-1')
  assert.deepEqual(bare(found), first)
  assert.equal(found._rev, revs[0])
})
await check('document', 'order of members is kept', async () => {
  const found = await customers.get('c-1')
  return Object.keys(found).filter(name => !name.startsWith('_')).join(' ')
})
await check('document', 'head', async () => {
  const found = await customers.head('c-1')
  assert.ok(found.etag)
  return { type: found['content-type']?.split(';')[0] }
})
await check('document', 'update with its revision', async () => {
  first.tier = 'silver'
  first.address = `150-0001 Jingumae ${canaries.word()}`
  const reply = await customers.insert({ ...first, _rev: revs[0] }, 'c-1')
  isRev(reply.rev, 2)
  revs.push(reply.rev)
  assert.deepEqual(bare(await customers.get('c-1')), first)
})
await check('document', 'update with the revision in the query', async () => {
  first.points = 2
  const reply = await server.request({ db: 'customers', doc: 'c-1', method: 'PUT', qs: { rev: revs[1] }, body: first })
  isRev(reply.rev, 3)
  revs.push(reply.rev)
})
await check('document', 'read and write back', async () => {
  const whole = await customers.get('c-1')
  whole.points = 3
  first.points = 3
  const reply = await customers.insert(whole, 'c-1')
  isRev(reply.rev, 4)
  revs.push(reply.rev)
  assert.deepEqual(bare(await customers.get('c-1')), first)
})
await check('document', 'an old revision', async () => {
  const old = await customers.get('c-1', { rev: revs[0] })
  assert.equal(old.tier, 'gold')
  assert.equal(old.name, first.name)
  assert.deepEqual(old.phones, first.phones)
})
await check('document', 'its revisions', async () => {
  const found = await customers.get('c-1', { revs: true, revs_info: true, conflicts: true })
  assert.equal(found._revisions.start, 4)
  assert.equal(found.name, first.name)
  return found._revs_info.map(info => info.status)
})
await check('document', 'conflict: an old revision', async () => {
  const seen = await databaseFailure(customers.insert({ ...first, _rev: revs[0] }, 'c-1'))
  assert.deepEqual([seen.status, seen.error], [409, 'conflict'])
  return seen
})
await check('document', 'conflict: no revision', async () => {
  const seen = await databaseFailure(customers.insert(customer(), 'c-1'))
  assert.deepEqual([seen.status, seen.error], [409, 'conflict'])
  return seen
})
await check('document', 'not there', async () => {
  const seen = await databaseFailure(customers.get('c-0'))
  assert.deepEqual([seen.status, seen.error], [404, 'not_found'])
  return seen
})
await check('document', 'create without an id', async () => {
  const mine = customer('bronze')
  const reply = await customers.insert(mine)
  assert.match(reply.id, /^[0-9a-f-]{32,36}$/)
  isRev(reply.rev, 1)
  assert.deepEqual(bare(await customers.get(reply.id)), mine)
})
await check('document', 'create with the id in the body', async () => {
  const mine = { _id: 'c-in-body', ...customer() }
  const reply = await customers.insert(mine)
  assert.equal(reply.id, 'c-in-body')
  assert.deepEqual(bare(await customers.get('c-in-body')), bare(mine))
})
for (const id of ['a/b c+é#?&%:ü', 'mei.tanaka@shop.example', "it's (50%)~!*", '田中/1', 'x=y;z', 'back\\slash', 'a%2Fb']) {
  await check('document', `an id that needs escapes: ${id}`, async () => {
    const mine = customer()
    const made = await customers.insert(mine, id)
    assert.equal(made.id, id)
    const found = await customers.get(id)
    assert.equal(found._id, id)
    assert.deepEqual(bare(found), mine)
    const gone = await customers.destroy(id, found._rev)
    return { made: made.ok, gone: gone.ok }
  })
}
await check('document', 'texts of every kind', async () => {
  const mine = customer()
  mine.name = canaries.text(`e\u0301 \u{1f989} "quoted" \\back\\ \t\n\u0000\u2028 عربي ${canaries.word()}`)
  mine.address = ''
  mine.note = '\u{10ffff} \ufeff é'
  await customers.insert(mine, 'c-texts')
  assert.deepEqual(bare(await customers.get('c-texts')), mine)
})
await check('document', 'protected members of every type', async () => {
  const number = Number(canaries.digits(15))
  for (const [at, value] of [number, -1.5, 0, true, false, null, [], {}, [canaries.word()], { deep: [{ er: canaries.word() }] }].entries()) {
    const mine = { name: value, national_id: value, history: value, phones: [value, canaries.word()], tier: 'types' }
    await customers.insert(mine, `c-type-${at}`)
    assert.deepEqual(bare(await customers.get(`c-type-${at}`)), mine)
  }
})
await check('document', 'none of the protected members', async () => {
  const mine = { tier: 'none', phones: [] }
  await customers.insert(mine, 'c-none')
  assert.deepEqual(bare(await customers.get('c-none')), mine)
})
await check('document', 'a long one', async () => {
  const mine = { ...customer(), notes: 'x'.repeat(300_000), phones: Array.from({ length: 200 }, (_, at) => `${at} ${words.phone}`) }
  await customers.insert(mine, 'c-long')
  assert.deepEqual(bare(await customers.get('c-long')), mine)
})
await check('document', 'delete', async () => {
  const made = await customers.insert(customer(), 'c-gone')
  const gone = await customers.destroy('c-gone', made.rev)
  isRev(gone.rev, 2)
  const seen = await databaseFailure(customers.get('c-gone'))
  assert.equal(seen.status, 404)
  return seen
})
await check('document', 'delete with a wrong revision', async () => {
  const seen = await databaseFailure(customers.destroy('c-1', '1-00000000000000000000000000000000'))
  // CouchDB says 409, PouchDB Server 404.
  assert.ok([404, 409].includes(seen.status))
  return seen
})
await check('document', 'delete by writing', async () => {
  const made = await customers.insert(customer(), 'c-written-off')
  await customers.insert({ _rev: made.rev, _deleted: true }, 'c-written-off')
  const seen = await databaseFailure(customers.get('c-written-off'))
  assert.equal(seen.status, 404)
  return seen
})

// --- many documents: values of their own around a few words that are searched for
const many = Array.from({ length: 600 }, (_, at) => ({
  _id: `m-${String(at).padStart(4, '0')}`,
  name: `Mei ${words.name} ${at}`,
  address: `${100 + at}-0047 ${words.address}`,
  phones: at % 3 === 0 ? [] : [`${at} ${words.phone}`, `${at + 1} ${words.phone}`],
  national_id: `${at}${words.id}`,
  history: { moved: [`${words.moved}-${at}`] },
  tier: at % 2 ? 'odd' : 'even'
}))
await check('many', '600 in one request', async () => {
  const replies = await customers.bulk({ docs: many })
  assert.equal(replies.filter(reply => reply.ok).length, 600)
  // PouchDB Server answers in no fixed order.
  return replies.map(reply => reply.id).sort().join(' ')
})
await check('many', 'list of all, with documents', async () => {
  const list = await customers.list({ include_docs: true, startkey: 'm-', endkey: 'm-\ufff0' })
  assert.deepEqual(list.rows.map(row => bare(row.doc)), many.map(bare))
  return { keys: Object.keys(list).sort(), row: Object.keys(list.rows[0]).sort() }
})
await check('many', 'list of all, without documents', async () => {
  const list = await customers.list({ limit: 5, startkey: 'm-' })
  assert.equal(list.rows.length, 5)
  assert.ok(list.rows.every(row => row.doc === undefined && row.value.rev))
  return list.rows.map(row => row.id)
})
await check('many', 'backwards, some, skipping', async () => {
  const list = await customers.list({ include_docs: true, startkey: 'm-0009', endkey: 'm-0000', descending: true, skip: 2, limit: 3, inclusive_end: false })
  assert.deepEqual(list.rows.map(row => bare(row.doc)), [7, 6, 5].map(at => bare(many[at])))
})
await check('many', 'by a list of ids', async () => {
  const list = await customers.fetch({ keys: ['m-0003', 'nobody', 'c-1', 'c-gone'] })
  assert.deepEqual(bare(list.rows[0].doc), bare(many[3]))
  assert.equal(list.rows[1].error, 'not_found')
  assert.deepEqual(bare(list.rows[2].doc), first)
  return list.rows.map(row => [row.id ?? null, row.error ?? null, row.doc === null])
})
await check('many', 'only the revisions of a list of ids', async () => {
  const list = await customers.fetchRevs({ keys: ['m-0003', 'm-0004'] })
  return list.rows.map(row => [row.id, row.doc ?? null])
})
await check('many', 'create, update, conflict and delete in one request', async () => {
  const stored = (await customers.fetch({ keys: ['m-0000', 'm-0001', 'm-0002'] })).rows.map(row => row.doc)
  const updated = { ...stored[0], tier: 'changed', name: `Changed ${canaries.word()}` }
  const docs = [{ _id: 'b-new', ...customer() }, updated, { ...stored[1], _rev: '1-00000000000000000000000000000000' }, { _id: 'm-0002', _rev: stored[2]._rev, _deleted: true }, customer('assigned')]
  // PouchDB Server answers in no fixed order.
  const replies = (await customers.bulk({ docs })).map(reply => [reply.id, reply.error ?? null, reply.reason ?? null]).sort()
  const known = new Set(docs.map(doc => doc._id))
  const [[assigned]] = replies.filter(([id]) => !known.has(id))
  assert.deepEqual(bare(await customers.get('m-0000')), bare(updated))
  assert.deepEqual(bare(await customers.get(assigned)), docs[4])
  return replies.filter(([id]) => known.has(id))
})
await check('many', 'several at once with _bulk_get', async () => {
  const fetch = docs => server.request({ db: 'customers', path: '_bulk_get', method: 'POST', body: { docs } })
  const reply = await fetch([{ id: 'c-1' }, { id: 'nobody' }, { id: 'm-0005' }])
  const [now, nobody, fifth] = reply.results.map(result => result.docs[0])
  assert.deepEqual(bare(now.ok), first)
  assert.deepEqual(bare(fifth.ok), bare(many[5]))
  // An old revision on its own: PouchDB Server answers once for every document.
  const [then] = (await fetch([{ id: 'c-1', rev: revs[0] }])).results[0].docs
  assert.equal(then.ok.tier, 'gold')
  assert.equal(then.ok.name, first.name)
  return { ids: reply.results.map(result => result.id), nobody: Object.keys(nobody) }
})
await check('many', 'the count of documents', async () => (await customers.info()).doc_count)

// --- feeds, searches and views
await check('feed', 'changes with documents', async () => {
  const { results } = await customers.changes({ include_docs: true, limit: 1000 })
  const found = new Map(results.map(change => [change.id, change.doc]))
  for (const at of [3, 5, 599]) assert.deepEqual(bare(found.get(many[at]._id)), bare(many[at]))
  assert.equal(found.get('c-gone')._deleted, true)
})
await check('feed', 'the reader of changes, while they happen', async () => {
  const mine = customer()
  const seen = new Promise((resolve, reject) => customers.changesReader.start({ since: 'now', includeDocs: true, wait: false, timeout: 5000 })
    .on('change', change => change.id === 'c-live' && resolve(change.doc)).on('error', reject))
  try {
    await Promise.race([seen, new Promise(resolve => setTimeout(resolve, 500))])
    await customers.insert(mine, 'c-live')
    assert.deepEqual(bare(await seen), mine)
  } finally {
    customers.changesReader.stop()
  }
})
await check('search', 'an index, and by members that are not protected', async () => {
  const made = await customers.createIndex({ index: { fields: ['tier'] }, name: 'by-tier' })
  const found = await customers.find({ selector: { tier: 'odd', _id: { $lt: 'm-0006' } }, limit: 100 })
  assert.deepEqual(found.docs.map(bare), [1, 3, 5].map(at => bare(many[at])))
  return made.result
})
await check('view', 'a design document, and rows with documents', async () => {
  await customers.insert({ views: { by_tier: { map: 'function (doc) { emit(doc.tier, 1) }', reduce: '_count' } } }, '_design/shop')
  const found = await customers.view('shop', 'by_tier', { key: 'odd', include_docs: true, reduce: false, limit: 2 })
  assert.deepEqual(found.rows.map(row => bare(row.doc)), [1, 3].map(at => bare(many[at])))
  return (await customers.view('shop', 'by_tier', { key: 'odd' })).rows
})
await check('feed', 'a revision made elsewhere, and all open revisions', async () => {
  const mine = customer()
  await customers.bulk({ docs: [{ _id: 'c-elsewhere', _rev: `1-${'a'.repeat(32)}`, ...mine }], new_edits: false })
  const [found] = await customers.get('c-elsewhere', { open_revs: 'all' })
  assert.deepEqual(bare(found.ok), mine)
  return found.ok._rev
})

// --- a whole database comes and goes
await check('database', 'make, fill, delete', async () => {
  await server.db.create('scratch')
  await server.use('scratch').insert({ name: `Short ${canaries.word()}` }, 's-1')
  const gone = await server.db.destroy('scratch')
  assert.ok(!(await server.db.list()).includes('scratch'))
  return gone
})

// --- a database that is not protected: nothing may differ
const products = server.use('products')
await check('outside', 'make a database and documents', async () => {
  await server.db.create('products')
  const made = await products.insert({ name: `Lamp ${canaries.word('control')}`, price: 12.5, colour: canaries.word('control') }, 'p-1')
  await products.bulk({ docs: [{ _id: 'p-2', name: 'Chair', price: 1e2 }, { name: 'Table' }] })
  isRev(made.rev, 1)
  const found = await products.get('p-1')
  return { price: found.price, type: typeof found.name }
})
await check('outside', 'attachment', async () => {
  const { _rev } = await products.get('p-1')
  const made = await products.attachment.insert('p-1', 'photo.bin', Buffer.from([0, 1, 2, 250, 251, 13, 10]), 'application/octet-stream', { rev: _rev })
  const found = await products.attachment.get('p-1', 'photo.bin')
  assert.deepEqual([...found], [0, 1, 2, 250, 251, 13, 10])
  return made.ok
})
await check('outside', 'view', async () => {
  await products.insert({ views: { by_name: { map: 'function (doc) { if (doc.name) emit(doc.name, doc.price) }' } } }, '_design/shop')
  const found = await products.view('shop', 'by_name', { key: 'Chair', include_docs: true })
  return found.rows.map(row => [row.key, row.value, row.doc.price])
})
await check('outside', 'changes', async () => {
  const found = await products.changes({ include_docs: true })
  return found.results.length
})
await check('outside', 'find', async () => {
  const found = await products.find({ selector: { name: 'Chair' } })
  return found.docs.map(doc => doc.name)
})
await check('outside', 'local document and all revisions', async () => {
  await products.insert({ x: 1 }, '_local/mark')
  const found = await products.get('p-1', { open_revs: 'all' })
  return typeof found
})
await check('outside', 'conflict', async () => databaseFailure(products.insert({ name: 'again' }, 'p-1')))

// One that stays, with a member that is not protected, for the search that follows.
await check('document', 'one that is searched for afterwards', async () => {
  const mine = { ...customer(), tier: canaries.word('control') }
  await customers.insert(mine, 'c-control')
  assert.deepEqual(bare(await customers.get('c-control')), mine)
})

writeFileSync(canariesFile, JSON.stringify(canaries.known))
checks.finish('nano', resultsFile, true)
