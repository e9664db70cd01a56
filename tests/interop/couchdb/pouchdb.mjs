// One application's use of CouchDB through PouchDB, replication included, straight or through Sudare: the same checks either way.
//
//   node pouchdb.mjs URL RESULTS CANARIES FOLDER [SECRETS]
//
// FOLDER takes the databases of the client's own side. With SECRETS every request carries a credential and a purpose. Exits 0 when it ran
// to its end; whether what failed may fail is for compare.mjs to say.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { once } from 'node:events'
import { Canaries, Checks, assert } from './checks.mjs'

const require = createRequire(process.env.INTEROP_PACKAGES + '/package.json')
const PouchDB = require('pouchdb').plugin(require('pouchdb-find'))
const [url, resultsFile, canariesFile, folder, secretsFile] = process.argv.slice(2)
const secrets = secretsFile && JSON.parse(readFileSync(secretsFile, 'utf8'))
const identity = secrets ? { 'Sudare-Credential': `shop.${secrets.shop}`, 'Data-Purpose': 'registration' } : {}

const checks = new Checks()
const canaries = new Canaries()
const check = checks.check.bind(checks)

// Every request of PouchDB's goes through here, so that refusals are known by their code whatever PouchDB makes of them.
async function recorded (target, options = {}) {
  const reply = await PouchDB.fetch(target, options)
  if (reply.status >= 400) checks.refusal(options.method ?? 'GET', target, await reply.clone().text())
  return reply
}
const remote = name => new PouchDB(`${url}/${name}`, { fetch: recorded, headers: identity })
const local = name => new PouchDB(`${folder}/${name}`)
// A request of no library.
async function raw (path, { body, ...options } = {}) {
  // Uncompressed: the server holds compressed feeds back.
  const headers = { ...identity, accept: 'application/json', 'accept-encoding': 'identity', ...(body !== undefined && { 'content-type': 'application/json' }) }
  return recorded(`${url}/${path}`, { ...options, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
}
async function json (path, options) {
  const reply = await raw(path, options)
  const answer = await reply.json()
  if (!reply.ok) throw Object.assign(new Error(`${answer.error}: ${answer.reason}`), { status: reply.status })
  return answer
}

const isRev = (rev, generation) => assert.match(rev, new RegExp(`^${generation}-[0-9a-f]{32}$`))
const bare = ({ _id, _rev, _revisions, _conflicts, ...rest }) => rest
const sorted = list => [...list].sort()
const numbered = (count, look) => Array.from({ length: count }, (_, at) => look(at))
const pause = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))
// What PouchDB reports of a failure.
async function failure (promise) {
  try {
    await promise
  } catch (error) {
    return { status: error.status, name: error.name, reason: error.reason ?? null }
  }
  throw new Error('this should have failed, and did not')
}

function member (extra = {}) {
  return {
    name: canaries.text(`Ren Sato 佐藤 "é" ${canaries.word()}`),
    address: `530-0001 Umeda ${canaries.word()}`,
    phones: [`+81 6 ${canaries.digits(14)}`],
    national_id: canaries.digits(16),
    email: `${canaries.word()}@shop.example`,
    history: { since: 2020, moved: [canaries.word(), null] },
    tier: 'gold',
    points: 1.5,
    ...extra
  }
}
// Words that many values hold, so that not every one of those is searched for on its own.
const words = Object.fromEntries(['name', 'address', 'phone', 'id', 'email', 'moved'].map(what => [what, canaries.word()]))
const traveller = (at, extra = {}) => ({
  _id: `t-${String(at).padStart(4, '0')}`,
  name: `Ren ${words.name} ${at}`,
  address: `${100 + at % 800}-0047 ${words.address}`,
  phones: at % 3 === 0 ? [] : [`${at} ${words.phone}`],
  national_id: `${at}${words.id}`,
  email: `${at}.${words.email}@shop.example`,
  history: { moved: [`${words.moved}-${at}`] },
  tier: at % 2 ? 'odd' : 'even',
  at,
  ...extra
})

const members = remote('members')

// --- the database
await check('database', 'made on first use, and known', async () => {
  const info = await members.info()
  assert.equal(info.doc_count, 0)
  return [info.adapter, info.db_name]
})
await check('database', 'one that is not made', async () => {
  const info = await new PouchDB(`${url}/nothing_here`, { fetch: recorded, headers: identity, skip_setup: true }).info()
  return [info.error, info.reason]
})

// --- documents
const first = member()
const revs = []
await check('document', 'put', async () => {
  const made = await members.put({ _id: 'p-1', ...first })
  isRev(made.rev, 1)
  revs.push(made.rev)
  return [made.ok, made.id]
})
await check('document', 'get', async () => {
  const found = await members.get('p-1')
  assert.deepEqual(bare(found), first)
  assert.equal(found._rev, revs[0])
  return Object.keys(found).filter(name => !name.startsWith('_')).join(' ')
})
await check('document', 'read, change, put', async () => {
  const found = await members.get('p-1')
  first.tier = 'silver'
  const made = await members.put({ ...found, tier: 'silver' })
  isRev(made.rev, 2)
  revs.push(made.rev)
  assert.deepEqual(bare(await members.get('p-1')), first)
})
await check('document', 'read, change a protected member, put', async () => {
  const found = await members.get('p-1')
  found.address = first.address = `150-0001 Jingumae ${canaries.word()}`
  const made = await members.put(found)
  isRev(made.rev, 3)
  revs.push(made.rev)
  assert.deepEqual(bare(await members.get('p-1')), first)
})
await check('document', 'post', async () => {
  const mine = member({ tier: 'bronze' })
  const made = await members.post(mine)
  assert.match(made.id, /^[0-9a-f-]{32,36}$/)
  assert.deepEqual(bare(await members.get(made.id)), mine)
})
await check('document', 'an old revision', async () => {
  const old = await members.get('p-1', { rev: revs[0] })
  assert.deepEqual([old.name, old.tier], [first.name, 'gold'])
})
await check('document', 'revs, revs_info, conflicts', async () => {
  const found = await members.get('p-1', { revs: true, revs_info: true, conflicts: true })
  assert.equal(found._revisions.start, 3)
  assert.equal(found.name, first.name)
  return found._revs_info.map(info => info.status)
})
await check('document', 'put with an old revision', async () => failure(members.put({ _id: 'p-1', _rev: revs[0], ...first })))
await check('document', 'put without a revision', async () => failure(members.put({ _id: 'p-1', ...member() })))
await check('document', 'get what is not there', async () => failure(members.get('nobody')))
await check('document', 'remove', async () => {
  const made = await members.put({ _id: 'p-gone', ...member() })
  const gone = await members.remove('p-gone', made.rev)
  isRev(gone.rev, 2)
  return failure(members.get('p-gone'))
})
await check('document', 'put deleted, then made again', async () => {
  const made = await members.put({ _id: 'p-again', ...member() })
  await members.put({ _id: 'p-again', _rev: made.rev, _deleted: true })
  const mine = member()
  const again = await members.put({ _id: 'p-again', ...mine })
  isRev(again.rev, 3)
  assert.deepEqual(bare(await members.get('p-again')), mine)
})
for (const id of ['a/b c+é#?&%:ü', 'mei.tanaka@shop.example', '田中/1', 'x=y;z']) {
  await check('document', `an id that needs escapes: ${id}`, async () => {
    const mine = member()
    await members.put({ _id: id, ...mine })
    const found = await members.get(id)
    assert.deepEqual(bare(found), mine)
    return (await members.remove(found)).ok
  })
}

// --- many
const list = numbered(40, at => traveller(at))
await check('many', 'bulkDocs', async () => {
  const made = await members.bulkDocs(list)
  assert.ok(made.every(one => one.ok))
  return made.map(one => one.id).sort().join(' ')
})
await check('many', 'allDocs with documents', async () => {
  const { rows } = await members.allDocs({ include_docs: true, startkey: 't-', endkey: 't-\ufff0' })
  assert.deepEqual(rows.map(row => bare(row.doc)), list.map(bare))
})
await check('many', 'allDocs by keys', async () => {
  const { rows } = await members.allDocs({ include_docs: true, keys: ['t-0003', 'nobody', 'p-1', 'p-gone'] })
  assert.deepEqual(bare(rows[0].doc), bare(list[3]))
  assert.deepEqual(bare(rows[2].doc), first)
  return rows.map(row => [row.id ?? null, row.error ?? null, row.value?.deleted ?? null])
})
await check('many', 'allDocs backwards, some, skipping, with conflicts', async () => {
  const { rows } = await members.allDocs({ include_docs: true, conflicts: true, descending: true, startkey: 't-0009', endkey: 't-0000', inclusive_end: false, skip: 2, limit: 3 })
  assert.deepEqual(rows.map(row => bare(row.doc)), [7, 6, 5].map(at => bare(list[at])))
})
await check('many', 'bulkDocs: create, update, conflict, delete', async () => {
  const rows = (await members.allDocs({ include_docs: true, keys: ['t-0000', 't-0001', 't-0002'] })).rows.map(row => row.doc)
  const changed = { ...rows[0], tier: 'changed', name: `Changed ${canaries.word()}` }
  const made = await members.bulkDocs([{ _id: 'b-new', ...member() }, changed, { ...rows[1], _rev: '1-00000000000000000000000000000000' }, { _id: 't-0002', _rev: rows[2]._rev, _deleted: true }])
  assert.deepEqual(bare(await members.get('t-0000')), bare(changed))
  // PouchDB Server answers in no fixed order.
  return made.map(one => [one.id, one.error ? one.name : 'ok']).sort()
})
await check('many', 'bulkGet', async () => {
  const { results } = await members.bulkGet({ docs: [{ id: 'p-1' }, { id: 't-0005' }, { id: 'nobody' }] })
  assert.deepEqual(bare(results[0].docs[0].ok), first)
  assert.deepEqual(bare(results[1].docs[0].ok), bare(list[5]))
  return [results.map(result => result.id), Object.keys(results[2].docs[0])]
})
await check('many', 'bulkGet with revs and latest', async () => {
  const { results } = await members.bulkGet({ docs: [{ id: 'p-1', rev: revs[0] }], revs: true, latest: true })
  const [{ ok }] = results[0].docs
  assert.equal(ok.name, first.name)
  return Object.keys(ok).filter(name => name.startsWith('_')).sort()
})

// --- revisions made elsewhere
const [left, right] = ['a', 'b'].map(letter => letter.repeat(32))
const [ground, branches] = ['0'.repeat(32), [member({ tier: 'left' }), member({ tier: 'right' })]]
await check('revisions', 'bulkDocs with new_edits: false', async () => {
  const written = (hash, body) => ({ _id: 'c-1', _rev: `2-${hash}`, _revisions: { start: 2, ids: [hash, ground] }, ...body })
  const made = await members.bulkDocs([written(left, branches[0]), written(right, branches[1])], { new_edits: false })
  return made.filter(one => one.error).length
})
await check('revisions', 'put with force', async () => {
  const mine = member({ tier: 'forced' })
  await members.put({ _id: 'c-forced', _rev: `1-${left}`, ...mine }, { force: true })
  const found = await members.get('c-forced')
  assert.deepEqual(bare(found), mine)
  isRev(found._rev, 2)
})
await check('revisions', 'conflicts', async () => {
  const found = await members.get('c-1', { conflicts: true })
  assert.deepEqual(bare(found), branches[1])
  return [found._rev, found._conflicts]
})
await check('revisions', 'open_revs: all', async () => {
  const found = await members.get('c-1', { open_revs: 'all' })
  assert.deepEqual(found.map(one => bare(one.ok)).sort((one, other) => one.tier < other.tier ? -1 : 1), branches)
  return sorted(found.map(one => one.ok._rev))
})
await check('revisions', 'open_revs: some, with revs', async () => {
  const found = await members.get('c-1', { open_revs: [`2-${left}`, `2-${'f'.repeat(32)}`], revs: true })
  const { ok } = found.find(one => one.ok)
  assert.deepEqual(bare(ok), branches[0])
  return [ok._revisions, found.filter(one => one.missing).map(one => one.missing)]
})
await check('revisions', 'revsDiff', async () => {
  const missing = await members.revsDiff({ 'c-1': [`2-${left}`, `3-${left}`], 'c-none': [`1-${left}`] })
  return [missing['c-1'], missing['c-none']]
})
await check('revisions', 'resolved by removing the other branch', async () => {
  await members.remove('c-1', `2-${left}`)
  const found = await members.get('c-1', { conflicts: true })
  assert.deepEqual(bare(found), branches[1])
  return found._conflicts ?? null
})

// --- attachments: the second database is one that lets them pass
const bytes = Buffer.from([0, 1, 2, 250, 251, 13, 10])
const travellers = remote('travellers')
for (const [name, database] of Object.entries({ members, travellers })) {
  const attached = (id, data) => database.put({ _id: id, tier: 'attached', _attachments: { 'a.bin': { content_type: 'application/octet-stream', data: data.toString('base64') } } })
  await check('attachments', `put inside a document of ${name}`, async () => (await attached('f-1', bytes)).ok)
  await check('attachments', `putAttachment into ${name}`, async () => {
    const mine = member()
    const { rev } = await database.put({ _id: 'f-2', ...mine })
    const made = await database.putAttachment('f-2', 'note.txt', rev, Buffer.from('a note'), 'text/plain')
    const { _attachments: stubs, ...found } = await database.get('f-2')
    assert.deepEqual(bare(found), mine)
    return [made.ok, Object.keys(stubs)]
  })
  await check('attachments', `getAttachment from ${name}`, async () => {
    await attached('f-3', bytes)
    return [...await database.getAttachment('f-3', 'a.bin')]
  })
  await check('attachments', `get with attachments from ${name}`, async () => {
    await attached('f-4', bytes)
    return (await database.get('f-4', { attachments: true }))._attachments['a.bin'].data
  })
  await check('attachments', `removeAttachment from ${name}`, async () => {
    const { rev } = await attached('f-5', bytes)
    await database.removeAttachment('f-5', 'a.bin', rev)
    return Object.keys(await database.get('f-5')).sort()
  })
}

// --- searches
const tiers = async query => (await members.find(query)).docs
await check('find', 'createIndex, twice', async () => {
  const index = { index: { fields: ['tier', 'at'], name: 'by-tier', ddoc: 'by-tier' } }
  return [(await members.createIndex(index)).result, (await members.createIndex(index)).result]
})
await check('find', 'getIndexes', async () => (await members.getIndexes()).indexes.map(index => [index.name, index.def.fields]))
await check('find', 'by members that are not protected', async () => {
  const docs = await tiers({ selector: { tier: 'odd', at: { $gt: 9, $lt: 16 } } })
  assert.deepEqual(docs.map(bare).sort((one, other) => one.at - other.at), [11, 13, 15].map(at => bare(list[at])))
})
await check('find', 'sorted, limited, skipping', async () => {
  const docs = await tiers({ selector: { tier: 'odd', at: { $gte: 5 } }, sort: [{ tier: 'asc' }, { at: 'asc' }], limit: 3, skip: 1 })
  assert.deepEqual(docs.map(bare), [7, 9, 11].map(at => bare(list[at])))
})
await check('find', 'with $or, $in, $exists, $elemMatch', async () => {
  const docs = await tiers({ selector: { at: { $in: [3, 4, 999] }, $or: [{ tier: 'odd' }, { tier: 'even' }], nowhere: { $exists: false } } })
  return sorted(docs.map(doc => doc._id))
})
await check('find', 'only some fields', async () => {
  const docs = await tiers({ selector: { tier: 'odd', at: 7 }, fields: ['_id', 'name', 'at'] })
  assert.deepEqual(docs, [{ _id: 't-0007', name: list[7].name, at: 7 }])
})
await check('find', 'equality on a protected member that is stored deterministically', async () => {
  await members.createIndex({ index: { fields: ['email'], name: 'by-email', ddoc: 'by-email' } })
  const docs = await tiers({ selector: { email: list[8].email } })
  assert.deepEqual(docs.map(bare), [bare(list[8])])
})
await check('find', 'equality on a protected member that is stored sealed', async () => {
  const docs = await tiers({ selector: { tier: 'even', national_id: list[8].national_id } })
  assert.deepEqual(docs.map(doc => doc._id), ['t-0008'])
})
await check('find', 'a range on a protected member', async () => {
  const docs = await tiers({ selector: { tier: 'even', address: { $gt: '120-', $lt: '125-' } } })
  return sorted(docs.map(doc => doc._id))
})
await check('find', 'explain', async () => {
  const { index, selector } = await members.explain({ selector: { tier: 'odd', at: { $gt: 9 } } })
  return [index.name, selector]
})
await check('find', 'deleteIndex', async () => {
  await members.createIndex({ index: { fields: ['points'], name: 'by-points', ddoc: 'by-points' } })
  const { indexes } = await members.getIndexes()
  return (await members.deleteIndex(indexes.find(index => index.name === 'by-points'))).ok
})

// --- views. Their functions are text: the server runs them, not this program.
const designs = {
  people: {
    by_tier: { map: "function (doc) { if (doc.tier && typeof doc.at === 'number') emit(doc.tier, doc.at) }", reduce: '_sum' },
    by_place: { map: "function (doc) { if (typeof doc.at === 'number') emit([doc.tier, doc.at % 5], 1) }", reduce: '_count' }
  },
  whole: { documents: { map: "function (doc) { if (typeof doc.at === 'number') emit(doc.at, doc) }" } },
  cards: { cards: { map: "function (doc) { if (typeof doc.at === 'number') emit(doc.at, { name: doc.name, address: doc.address }) }" } },
  names: { by_name: { map: "function (doc) { if (doc.name && typeof doc.at === 'number') emit(doc.name, null) }" } }
}
const design = name => members.put({ _id: `_design/${name}`, views: designs[name] })
await check('views', 'a design document', async () => (await design('people')).id)
await check('views', 'read it', async () => (await members.get('_design/people')).views)
await check('views', 'change it', async () => (await members.put({ ...await members.get('_design/people'), language: 'javascript' })).ok)
await check('views', 'members of the application in it', async () => (await members.put({ _id: '_design/noted', views: designs.people, note: 'of ours' })).ok)
await check('views', 'query by key', async () => {
  const found = await members.query('people/by_tier', { key: 'odd', reduce: false })
  return found.rows.map(row => [row.id, row.value])
})
await check('views', 'query with documents', async () => {
  const found = await members.query('people/by_tier', { startkey: 'odd', endkey: 'odd', reduce: false, include_docs: true, limit: 2 })
  assert.deepEqual(found.rows.map(row => bare(row.doc)), [1, 3].map(at => bare(list[at])))
})
await check('views', 'query by keys', async () => {
  const found = await members.query('people/by_tier', { keys: ['even', 'none'], reduce: false })
  return found.rows.map(row => row.value)
})
await check('views', 'reduce and group', async () => {
  const found = await members.query('people/by_tier', { reduce: true, group: true })
  return found.rows
})
await check('views', 'group by a part of the key', async () => {
  const found = await members.query('people/by_place', { group_level: 1 })
  return found.rows.map(row => [row.key, row.value])
})
await check('views', 'a map that emits whole documents', async () => {
  await design('whole')
  const found = await members.query('whole/documents', { key: 7 })
  assert.deepEqual(found.rows.map(row => bare(row.value)), [bare(list[7])])
})
await check('views', 'a map that emits protected members as values', async () => {
  await design('cards')
  const found = await members.query('cards/cards', { key: 7 })
  assert.deepEqual(found.rows.map(row => row.value), [{ name: list[7].name, address: list[7].address }])
})
await check('views', 'a map that emits a protected member as key', async () => {
  await design('names')
  const found = await members.query('names/by_name', { key: list[7].name })
  assert.deepEqual(found.rows.map(row => row.id), ['t-0007'])
})
await check('views', 'a map of the client', async () => {
  const found = await members.query({ map: 'function (doc) { if (doc.at === 7) emit(doc.at, doc.tier) }' })
  return found.rows.map(row => [row.id, row.value])
})
await check('views', 'viewCleanup', async () => (await members.viewCleanup()).ok)

// --- changes
await check('changes', 'all, once', async () => {
  const { results } = await members.changes()
  return sorted(results.filter(change => /^[pt]-/.test(change.id)).map(change => [change.id, change.deleted ?? false].join(' ')))
})
await check('changes', 'with documents', async () => {
  const { results } = await members.changes({ include_docs: true })
  const found = new Map(results.map(change => [change.id, change.doc]))
  for (const at of [5, 11, 39]) assert.deepEqual(bare(found.get(list[at]._id)), bare(list[at]))
  assert.equal(found.get('p-gone')._deleted, true)
})
await check('changes', 'in batches, from one on', async () => {
  const { results, last_seq: last } = await members.changes({ limit: 5 })
  const rest = await members.changes({ since: last, batch_size: 10 })
  assert.ok(results.length === 5 && rest.results.length > 20)
})
await check('changes', 'of some documents', async () => {
  const { results } = await members.changes({ doc_ids: ['p-1', 't-0004'], include_docs: true })
  assert.deepEqual(bare(results.find(change => change.id === 't-0004').doc), bare(list[4]))
  return sorted(results.map(change => change.id))
})
// Not by a selector: PouchDB Server ends itself at filter=_selector.
await check('changes', 'by a filter of the client', async () => {
  const { results } = await members.changes({ filter: doc => doc.name === list[12].name, include_docs: true })
  assert.deepEqual(results.map(change => bare(change.doc)), [bare(list[12])])
})
await check('changes', 'by a filter of a design document', async () => {
  await members.put({ _id: '_design/filters', filters: { late: 'function (doc, req) { return doc.at >= 38 }' } })
  const { results } = await members.changes({ filter: 'filters/late' })
  return sorted(results.map(change => change.id))
})
await check('changes', 'by a filter with parameters', async () => {
  await members.put({ _id: '_design/chosen', filters: { from: 'function (doc, req) { return doc.at >= Number(req.query.from) }' } })
  const { results } = await members.changes({ filter: 'chosen/from', query_params: { from: 37 } })
  return sorted(results.map(change => change.id))
})
await check('changes', 'of what a view emits', async () => {
  const { results } = await members.changes({ filter: '_view', view: 'people/by_place', include_docs: true })
  assert.deepEqual(bare(results.find(change => change.id === 't-0005').doc), bare(list[5]))
  return sorted(results.map(change => change.id))
})
await check('changes', 'live, with documents', async () => {
  const mine = numbered(3, () => member())
  const feed = members.changes({ live: true, since: 'now', include_docs: true })
  try {
    const seen = new Map()
    const enough = new Promise((resolve, reject) => {
      feed.on('change', ({ id, doc }) => { seen.set(id, bare(doc)); if (seen.size === 3) resolve() })
      feed.on('error', reject)
    })
    await Promise.race([enough, pause(0.5)])
    for (const [at, body] of mine.entries()) await members.put({ _id: `live-${at}`, ...body })
    await enough
    for (const [at, body] of mine.entries()) assert.deepEqual(seen.get(`live-${at}`), body)
  } finally {
    feed.cancel()
  }
})
await check('changes', 'a long poll that is answered at once', async () => {
  const { results } = await json('members/_changes?feed=longpoll&since=0&limit=1&timeout=2000')
  assert.equal(results.length, 1)
})
await check('changes', 'a long poll that is answered when something happens', async () => {
  const { update_seq: since } = await members.info()
  const answer = json(`members/_changes?feed=longpoll&since=${encodeURIComponent(since)}&include_docs=true&timeout=10000`)
  const mine = member()
  await Promise.race([answer, pause(0.3)])
  await members.put({ _id: 'poll-1', ...mine })
  const { results } = await answer
  assert.deepEqual(bare(results[0].doc), mine)
})
// Reads a feed line by line until `enough` says so.
async function lines (path, enough) {
  const reply = await raw(path)
  if (!reply.ok) throw new Error(`${reply.status} ${await reply.text()}`)
  let text = ''
  for await (const chunk of reply.body) {
    text += chunk
    const whole = text.split('\n').slice(0, -1).filter(line => line.trim())
    if (enough(whole)) {
      reply.body.destroy()
      return whole
    }
  }
  return text.split('\n').filter(line => line.trim())
}
await check('changes', 'a continuous feed', async () => {
  const mine = member()
  const found = lines('members/_changes?feed=continuous&since=0&include_docs=true&heartbeat=1000', found => found.some(line => line.includes('"cont-1"')))
  await Promise.race([found, pause(0.3)])
  await members.put({ _id: 'cont-1', ...mine })
  const changes = (await found).map(line => JSON.parse(line))
  assert.deepEqual(bare(changes.find(change => change.id === 'cont-1').doc), mine)
  assert.deepEqual(bare(changes.find(change => change.id === 't-0005').doc), bare(list[5]))
})

// --- local documents
await check('local', 'a checkpoint: put, get, change, remove', async () => {
  const checkpoint = { _id: '_local/x1', session_id: 'a1b2', last_seq: 3, replicator: 'pouchdb', version: 1, history: [{ session_id: 'a1b2', last_seq: 3 }] }
  const made = await members.put(checkpoint)
  await members.put({ ...checkpoint, _rev: made.rev, last_seq: 4 })
  const found = await members.get('_local/x1')
  assert.deepEqual([found.last_seq, found.history], [4, checkpoint.history])
  await members.remove(found)
  return failure(members.get('_local/x1'))
})
await check('local', 'one of the application: put, get', async () => {
  await members.put({ _id: '_local/mark', at: 1 })
  return (await members.get('_local/mark')).at
})

// --- replication: 1,000 documents, 50 of them deleted, 20 in conflict, there and into another database of the client's
const mine = local('mine')
const back = local('back')
const count = 1000
const wholeView = async database => {
  const { rows } = await database.allDocs({ include_docs: true, conflicts: true, startkey: 't-', endkey: 't-\ufff0' })
  return new Map(rows.map(row => [row.id, row.doc]))
}
const same = (found, expected) => {
  assert.equal(found.size, expected.size)
  for (const [id, doc] of expected) assert.deepEqual(found.get(id), doc, id)
}
await mine.bulkDocs(numbered(count, at => traveller(at)))
{
  const rows = (await mine.allDocs()).rows
  await mine.bulkDocs(rows.filter((_, at) => at % 20 === 0).map(row => ({ _id: row.id, _rev: row.value.rev, _deleted: true })))
  const other = numbered(20, at => at * 50 + 1)
  await mine.bulkDocs(other.map(at => traveller(at, { _rev: `1-${left}`, tier: 'elsewhere', name: `Other ${words.name} ${at}` })), { new_edits: false })
}
// Ended by hand: PouchDB waits and tries again for ever where a request fails for another reason than a lack of rights.
async function replicated (replication) {
  const refusal = once(replication, 'denied').then(([error]) => { throw new Error(`denied: ${error.reason ?? error.message}`) })
  refusal.catch(() => {})
  try {
    return await Promise.race([replication, refusal])
  } finally {
    replication.cancel()
  }
}
const settings = { retry: false, batch_size: 200 }
await check('replication', 'to the server', async () => {
  const done = await replicated(mine.replicate.to(travellers, settings))
  assert.equal(done.ok, true)
  const info = await travellers.info()
  return [done.docs_written, done.doc_write_failures, info.doc_count]
}, 60)
await check('replication', 'the same again: nothing to do', async () => {
  const done = await replicated(mine.replicate.to(travellers, settings))
  return [done.docs_read, done.docs_written]
})
await check('replication', 'what the server has is what was sent', async () => same(await wholeView(travellers), await wholeView(mine)))
await check('replication', 'from the server into another', async () => {
  const done = await replicated(back.replicate.from(travellers, settings))
  assert.equal(done.ok, true)
  same(await wholeView(back), await wholeView(mine))
  const { results } = await back.changes({ style: 'all_docs' })
  return [done.docs_written, results.filter(change => change.deleted).length, results.filter(change => change.changes.length > 1).length]
}, 60)
await check('replication', 'only some documents', async () => {
  const some = local('some')
  const done = await replicated(some.replicate.from(travellers, { ...settings, doc_ids: ['t-0001', 't-0002', 'nobody'] }))
  assert.equal((await some.get('t-0002')).name, traveller(2).name)
  return done.docs_written
})
await check('replication', 'only what a filter lets through', async () => {
  const some = local('filtered')
  await travellers.put({ _id: '_design/chosen', filters: { from: 'function (doc, req) { return doc.at >= Number(req.query.from) }' } })
  const done = await replicated(some.replicate.from(travellers, { ...settings, filter: 'chosen/from', query_params: { from: count - 10 } }))
  assert.equal((await some.get('t-0999')).name, traveller(999).name)
  return done.docs_written
})
await check('replication', 'changes on both sides, synchronised', async () => {
  const changes = at => traveller(at, { tier: 'changed', phones: [`changed ${words.phone}`] })
  const there = (await travellers.allDocs({ keys: numbered(50, at => traveller(at * 2 + 101)._id) })).rows
  await travellers.bulkDocs(there.filter(row => !row.value.deleted).map(row => ({ ...changes(Number(row.id.slice(2))), _rev: row.value.rev })))
  const here = (await back.allDocs({ keys: numbered(50, at => traveller(at * 2 + 302)._id) })).rows
  await back.bulkDocs(here.filter(row => row.value && !row.value.deleted).map(row => ({ ...changes(Number(row.id.slice(2))), _rev: row.value.rev })))
  await back.bulkDocs(numbered(20, at => traveller(count + at)))
  const done = await replicated(back.sync(travellers, settings))
  same(await wholeView(back), await wholeView(travellers))
  return [done.push.docs_written, done.pull.docs_written]
}, 60)
await check('replication', 'live, both ways', async () => {
  const sync = back.sync(travellers, { live: true, retry: false })
  const broken = new Promise((resolve, reject) => { for (const what of ['error', 'denied']) sync.on(what, reject) })
  broken.catch(() => {})
  const arrives = async (database, id) => {
    for (;;) {
      try {
        return await database.get(id)
      } catch (error) {
        if (error.status !== 404) throw error
        await Promise.race([broken, pause(0.1)])
      }
    }
  }
  try {
    const [up, down] = [member(), member()]
    await back.put({ _id: 'sync-up', ...up })
    await travellers.put({ _id: 'sync-down', ...down })
    assert.deepEqual(bare(await arrives(travellers, 'sync-up')), up)
    assert.deepEqual(bare(await arrives(back, 'sync-down')), down)
  } finally {
    sync.cancel()
  }
})
await check('replication', 'a document with an attachment', async () => {
  const [one, other] = [local('attached'), local('attached-back')]
  await one.put({ _id: 'with-file', ...member(), _attachments: { 'a.bin': { content_type: 'application/octet-stream', data: bytes } } })
  await replicated(one.replicate.to(travellers, settings))
  await replicated(other.replicate.from(travellers, { ...settings, doc_ids: ['with-file'] }))
  return [...await other.getAttachment('with-file', 'a.bin')]
})

// --- upkeep
await check('upkeep', 'compact', async () => (await travellers.compact({ interval: 100 })).ok)
await check('upkeep', 'after that an old revision is gone, and the document is there', async () => {
  assert.equal((await travellers.get('t-0001')).national_id, traveller(1).national_id)
})
await check('upkeep', 'the security object', async () => json('members/_security'))
await check('upkeep', 'a database that comes and goes', async () => {
  const scratch = remote('scratch')
  await scratch.put({ _id: 's-1', name: `Short ${canaries.word()}` })
  return scratch.destroy()
})

// Ones that stay, with a member that is not protected, for the search that follows.
for (const database of [members, travellers]) {
  await check('document', `one in ${database.name.split('/').at(-1)} that is searched for afterwards`, async () => {
    const mine = member({ tier: canaries.word('control') })
    await database.put({ _id: 'control', ...mine })
    assert.deepEqual(bare(await database.get('control')), mine)
  })
}

writeFileSync(canariesFile, JSON.stringify(canaries.known))
checks.finish('PouchDB', resultsFile, true)
process.exit(0)
