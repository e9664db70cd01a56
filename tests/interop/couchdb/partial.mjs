// What PouchDB meets behind the proxy as a caller that sees only a part: views in every kind of answer, saving them back, copies.
//
//   node partial.mjs URL DATABASE_URL RESULTS CANARIES SECRETS FOLDER
//
// DATABASE_URL is the server itself, to look at what is stored. Exits 1 if a check fails.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Canaries, Checks, assert } from './checks.mjs'

const require = createRequire(process.env.INTEROP_PACKAGES + '/package.json')
const PouchDB = require('pouchdb').plugin(require('pouchdb-find'))
const [url, databaseUrl, resultsFile, canariesFile, secretsFile, folder] = process.argv.slice(2)
const secrets = JSON.parse(readFileSync(secretsFile, 'utf8'))
const checks = new Checks()
const canaries = new Canaries()
const check = checks.check.bind(checks)

const as = (caller, purpose, name = 'members') => new PouchDB(`${url}/${name}`, {
  headers: { 'Sudare-Credential': `${caller}.${secrets[caller]}`, 'Data-Purpose': purpose },
  fetch: async (target, options = {}) => {
    const reply = await PouchDB.fetch(target, options)
    if (reply.status >= 400) checks.refusal(options.method ?? 'GET', target, await reply.clone().text())
    return reply
  }
})
const shop = as('shop', 'registration')
const helpdesk = as('helpdesk', 'support')
const mailer = as('mailer', 'marketing')
const analyst = as('analyst', 'statistics')
const direct = new PouchDB(`${databaseUrl}/members`)
const local = name => new PouchDB(`${folder}/${name}`)

const bare = ({ _id, _rev, ...rest }) => rest
const pause = seconds => new Promise(resolve => setTimeout(resolve, seconds * 1000))
const mustNotShow = (what, shown = []) => {
  const text = JSON.stringify(what)
  for (const value of canaries.known.protected.filter(value => !shown.some(text => text.includes(value)))) assert.ok(!text.includes(value), 'a protected value is shown')
}
// Some request of the look is refused with this code; nothing is shown by the failure.
async function refused (code, look) {
  let failure
  try {
    await look()
  } catch (error) {
    failure = error
  }
  assert.ok(failure, 'this should have failed, and did not')
  const codes = [...checks.refused.values()].map(refusal => refusal.code)
  assert.ok(codes.includes(code), `expected ${code}, met ${codes.join(', ') || failure.message}`)
  mustNotShow([failure.message, failure.reason])
}

const member = (extra = {}) => ({
  name: `Yui Abe ${canaries.word()}`,
  address: `101-0047 Uchikanda ${canaries.word()}`,
  phones: [`+81355${canaries.digits(12)}`, `+81356${canaries.digits(12)}`],
  national_id: canaries.digits(16),
  email: `${canaries.word()}@shop.example`,
  history: { moved: [canaries.word()] },
  tier: 'gold',
  ...extra
})
const hidden = ['name', 'address', 'phones', 'national_id', 'email', 'history']
const protectedOnly = doc => Object.fromEntries(hidden.map(name => [name, doc[name]]))

// What each caller may be shown of a document; anything else in it is a leak.
const looks = {
  helpdesk: (found, doc) => {
    assert.equal(found.name, doc.name)
    assert.ok(found.phones.every((phone, at) => phone.includes('•') && phone.slice(-4) === doc.phones[at].slice(-4)))
    assert.deepEqual(Object.keys(bare(found)).sort(), ['name', 'phones', 'tier'])
    mustNotShow(found, [doc.name])
  },
  mailer: (found, doc) => {
    assert.match(found.name, /•/)
    assert.deepEqual([Object.keys(bare(found)).sort(), found.phones], [['name', 'phones', 'tier'], []])
    mustNotShow(found)
  },
  analyst: (found, doc) => {
    assert.match(found.name, /^psn1_[0-9a-z]{26}$/)
    assert.equal(found.address, doc.address.slice(0, 3))
    mustNotShow(found)
  }
}
const callers = { helpdesk, mailer, analyst }

const docs = {}
for (const at of [1, 2, 3, 4, 5, 6]) docs[`v-${at}`] = member()
await check('views', 'the shop writes', async () => {
  const made = await shop.bulkDocs(Object.entries(docs).map(([_id, doc]) => ({ _id, ...doc })))
  assert.ok(made.every(one => one.ok))
})
for (const [caller, look] of Object.entries(looks)) {
  const database = callers[caller]
  await check('views', `${caller}: get, allDocs, bulkGet, open_revs`, async () => {
    look(await database.get('v-1'), docs['v-1'])
    const { rows } = await database.allDocs({ include_docs: true, startkey: 'v-', endkey: 'v-\ufff0' })
    assert.equal(rows.length, 6)
    for (const row of rows) look(row.doc, docs[row.id])
    const { results } = await database.bulkGet({ docs: [{ id: 'v-2' }] })
    look(results[0].docs[0].ok, docs['v-2'])
  })
  await check('views', `${caller}: changes with documents`, async () => {
    const { results } = await database.changes({ include_docs: true, doc_ids: ['v-1', 'v-2', 'v-3'] })
    assert.equal(results.length, 3)
    for (const change of results) look(change.doc, docs[change.id])
  })
  await check('views', `${caller}: live changes`, async () => {
    const id = `live-${caller}`
    docs[id] = member()
    const feed = database.changes({ live: true, since: 'now', include_docs: true })
    try {
      const seen = new Promise((resolve, reject) => feed.on('change', change => change.id === id && resolve(change.doc)).on('error', reject))
      await Promise.race([seen, pause(0.5)])
      await shop.put({ _id: id, ...docs[id] })
      look(await seen, docs[id])
    } finally {
      feed.cancel()
    }
  })
  await check('views', `${caller}: find`, async () => {
    const found = await database.find({ selector: { _id: { $gte: 'v-', $lt: 'v-\ufff0' } } })
    assert.equal(found.docs.length, 6)
    for (const doc of found.docs) look(doc, docs[doc._id])
  })
  await check('views', `${caller}: a view with documents`, async () => {
    const { rows } = await database.query('people/by_tier', { reduce: false, include_docs: true })
    assert.ok(rows.length > 0)
    mustNotShow(rows, Object.values(docs).map(doc => doc.name))
  })
  await check('saving back', `${caller}: one document, nothing else changed`, async () => {
    const before = await direct.get('v-1')
    const seen = await database.get('v-1')
    await database.put({ ...seen, tier: `changed by ${caller}` })
    const after = await direct.get('v-1')
    assert.deepEqual(protectedOnly(after), protectedOnly(before))
    docs['v-1'].tier = `changed by ${caller}`
    assert.deepEqual(bare(await shop.get('v-1')), docs['v-1'])
  })
  await check('saving back', `${caller}: many at once`, async () => {
    const { rows } = await database.allDocs({ include_docs: true, keys: ['v-2', 'v-3', 'v-4'] })
    const made = await database.bulkDocs(rows.map(row => ({ ...row.doc, tier: `in a batch by ${caller}` })))
    assert.ok(made.every(one => one.ok), JSON.stringify(made.map(one => one.reason ?? 'ok')))
    for (const id of ['v-2', 'v-3', 'v-4']) assert.deepEqual(bare(await shop.get(id)), { ...docs[id], tier: `in a batch by ${caller}` })
  })
  await check('saving back', `${caller}: an old revision is a conflict, as ever`, async () => {
    const old = await database.get('v-5')
    docs['v-5'].tier = `moved on before ${caller}`
    await shop.put({ ...await shop.get('v-5'), tier: docs['v-5'].tier })
    const failure = await database.put({ ...old, tier: 'too late' }).catch(error => error)
    assert.deepEqual([failure.status, failure.name], [409, 'conflict'])
    const [made] = await database.bulkDocs([{ ...old, tier: 'too late' }])
    assert.deepEqual([made.status, made.name], [409, 'conflict'])
    assert.deepEqual(bare(await shop.get('v-5')), docs['v-5'])
  })
  await check('saving back', `${caller}: another value is refused`, async () => {
    const before = await direct.get('v-6')
    const seen = await database.get('v-6')
    await refused('not-writable', () => database.put({ ...seen, name: `Other ${canaries.word()}` }))
    assert.deepEqual(await direct.get('v-6'), before)
  })
}
await check('saving back', 'the shop after all of them', async () => {
  assert.deepEqual(protectedOnly(await shop.get('v-6')), protectedOnly(docs['v-6']))
})

// --- copies: whole and clear, whole and sealed, or none
const settings = { retry: false }
for (const [caller, database] of Object.entries(callers)) {
  await check('copies', `${caller}: no copy of a partial view`, async () => {
    const copy = local(`copy-${caller}`)
    await refused('view-not-whole', () => database.replicate.to(copy, settings))
    assert.equal((await copy.info()).doc_count, 0)
  })
  await check('copies', `${caller}: nothing from elsewhere`, async () => {
    const copy = local(`own-${caller}`)
    await copy.put({ _id: `pushed-${caller}`, name: `Pushed ${canaries.word()}` })
    await refused('view-not-whole', () => copy.replicate.to(database, settings))
    await assert.rejects(shop.get(`pushed-${caller}`), error => error.status === 404)
  })
}
await check('copies', 'a caller that sees all sealed keeps a copy, and puts it back', async () => {
  const [owner, keeper, copy] = [as('shop', 'registration', 'scratch'), as('keeper', 'backup', 'scratch'), local('copy-keeper')]
  const mine = Array.from({ length: 20 }, (_, at) => ({ _id: `k-${at}`, name: `Kept ${canaries.word()}`, at }))
  await owner.bulkDocs(mine)
  await keeper.replicate.to(copy, settings)
  const held = (await copy.allDocs({ include_docs: true })).rows.map(row => row.doc)
  assert.equal(held.length, 20)
  for (const doc of held) assert.match(doc.name, /^sdr1\./)
  mustNotShow(held)
  await owner.destroy()
  await copy.replicate.to(as('keeper', 'backup', 'scratch'), settings)
  const { rows } = await as('shop', 'registration', 'scratch').allDocs({ include_docs: true })
  assert.deepEqual(rows.map(row => bare(row.doc)).sort((one, other) => one.at - other.at), mine.map(bare))
})

writeFileSync(canariesFile, JSON.stringify(canaries.known))
process.exit(checks.finish('PouchDB with partial views', resultsFile) ? 0 : 1)
