// What only the proxy does, seen through npm `nano` and plain requests: views by purpose, refusals, tampering, searches by what is sealed.
//
//   node proxied.mjs URL DATABASE_URL RESULTS CANARIES SECRETS
//
// DATABASE_URL is the server itself, to break what is stored. Exits 1 if a check fails.
import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { Canaries, Checks, assert, failure } from './checks.mjs'

const require = createRequire(process.env.INTEROP_PACKAGES + '/package.json')
const nano = require('nano')
const [url, databaseUrl, resultsFile, canariesFile, secretsFile] = process.argv.slice(2)
const secrets = JSON.parse(readFileSync(secretsFile, 'utf8'))
const checks = new Checks()
const canaries = new Canaries()
const check = checks.check.bind(checks)

const identity = (caller, purpose) => ({ 'Sudare-Credential': `${caller}.${secrets[caller]}`, ...(purpose && { 'Data-Purpose': purpose }) })
const as = (caller, purpose) => nano({ url, headers: identity(caller, purpose) }).use('customers')
const shop = as('shop', 'registration')
const direct = nano(databaseUrl).use('customers')

const id = 'v-1'
const stored = {
  name: `Mei ${canaries.word()}`,
  address: `101-0047 Uchikanda ${canaries.word()}`,
  phones: [`+81355${canaries.digits(12)}`],
  national_id: canaries.digits(16),
  tier: canaries.word('control')
}
const last4 = text => text.slice(-4)
const mustNotShow = (text, what) => {
  for (const value of canaries.known.protected) assert.ok(!text.includes(value), `${what} shows a protected value`)
}
// A refusal as the client library reports it: CouchDB's words, our code, no value.
async function refused (promise, status, error, code) {
  const seen = await failure(promise)
  assert.deepEqual([seen.status, seen.error], [status, error], seen.text)
  assert.ok(seen.reason?.startsWith(`${code}: `), seen.text)
  assert.equal(seen.type, `docs/errors.md#${code}`)
  mustNotShow(seen.text, 'the refusal')
}

await check('views', 'the shop writes and reads all', async () => {
  await shop.insert(stored, id)
  const { _id, _rev, ...found } = await shop.get(id)
  assert.deepEqual(found, stored)
})
const views = {}
await check('views', 'shipping for delivery', async () => {
  const found = views.delivery = await as('shipping', 'delivery').get(id)
  assert.deepEqual([found.name, found.address, found.phones], [stored.name, stored.address, stored.phones])
  assert.match(found.national_id, /•/)
  assert.equal(last4(found.national_id), last4(stored.national_id))
})
await check('views', 'helpdesk for support', async () => {
  const found = views.support = await as('helpdesk', 'support').get(id)
  assert.equal(found.name, stored.name)
  assert.match(found.phones[0], /•/)
  assert.equal(last4(found.phones[0]), last4(stored.phones[0]))
  assert.ok(!('address' in found) && !('national_id' in found))
})
await check('views', 'mailer for marketing', async () => {
  const found = views.marketing = await as('mailer', 'marketing').get(id)
  assert.match(found.name, /•/)
  assert.ok(!('address' in found) && !('national_id' in found))
  mustNotShow(JSON.stringify(found), 'marketing')
})
await check('views', 'analyst for statistics', async () => {
  const found = views.statistics = await as('analyst', 'statistics').get(id)
  assert.match(found.name, /^psn1_[0-9a-z]{26}$/)
  assert.equal(found.address, '101')
  mustNotShow(JSON.stringify(found), 'statistics')
})
await check('views', 'four purposes, four views', async () => {
  assert.equal(new Set(Object.values(views).map(view => JSON.stringify(view))).size, 4)
  for (const view of Object.values(views)) assert.equal(view.tier, stored.tier)
})
await check('views', 'lists and _bulk_get show the same', async () => {
  for (const [caller, purpose] of [['shipping', 'delivery'], ['helpdesk', 'support'], ['mailer', 'marketing'], ['analyst', 'statistics']]) {
    const database = as(caller, purpose)
    const list = await database.list({ include_docs: true, key: id })
    assert.deepEqual(list.rows[0].doc, views[purpose], purpose)
    const fetched = await database.fetch({ keys: [id] })
    assert.deepEqual(fetched.rows[0].doc, views[purpose], purpose)
    const server = nano({ url, headers: identity(caller, purpose) })
    const several = await server.request({ db: 'customers', path: '_bulk_get', method: 'POST', body: { docs: [{ id }] } })
    assert.deepEqual(several.results[0].docs[0].ok, views[purpose], purpose)
  }
})
await check('views', 'a reply says what it may show, and is not kept', async () => {
  const reply = await fetch(`${url}/customers/${id}`, { headers: identity('shipping', 'delivery') })
  assert.match(reply.headers.get('data-view'), /purpose=delivery/)
  assert.equal(reply.headers.get('cache-control'), 'no-store')
  assert.match(reply.headers.get('content-type'), /^application\/json/)
})

await check('refusals', 'no purpose, where a caller has several', async () => {
  await refused(as('shop').get(id), 403, 'forbidden', 'purpose-missing')
  await refused(as('shop').list({ include_docs: true }), 403, 'forbidden', 'purpose-missing')
})
await check('refusals', 'a purpose of another caller', () => refused(as('helpdesk', 'delivery').get(id), 403, 'forbidden', 'purpose-refused'))
await check('refusals', 'a purpose nobody has', () => refused(as('shop', 'curiosity').get(id), 403, 'forbidden', 'purpose-refused'))
await check('refusals', 'no caller, a wrong secret, a wrong name', async () => {
  const nobody = headers => nano({ url, headers }).use('customers').get(id)
  await refused(nobody({ 'Data-Purpose': 'delivery' }), 401, 'unauthorized', 'caller-unknown')
  for (const credential of [`shop.${secrets.mailer}`, `nobody.${secrets.shop}`]) {
    await refused(nobody({ 'Sudare-Credential': credential, 'Data-Purpose': 'registration' }), 401, 'unauthorized', 'caller-unknown')
  }
})
await check('refusals', 'writing without the right', async () => {
  const text = canaries.word()
  await refused(as('helpdesk', 'support').insert({ phones: [text] }, 'w-1'), 403, 'forbidden', 'not-writable')
  await refused(as('shipping', 'delivery').bulk({ docs: [{ _id: 'w-2', name: text }] }), 403, 'forbidden', 'not-writable')
})
await check('refusals', 'deleting without the right', async () => {
  const { _rev } = await shop.get(id)
  await refused(as('shipping', 'delivery').destroy(id, _rev), 403, 'forbidden', 'delete-refused')
  await refused(as('shipping', 'delivery').bulk({ docs: [{ _id: id, _rev, _deleted: true }] }), 403, 'forbidden', 'delete-refused')
  await refused(nano({ url, headers: identity('shipping', 'delivery') }).db.destroy('customers'), 403, 'forbidden', 'delete-refused')
})

// Every other way to bring a clear value into the database. The search afterwards tells whether one got through.
await check('refusals', 'routes that are not mapped, and bodies that cannot be protected', async () => {
  const text = canaries.word()
  const server = nano({ url, headers: identity('shop', 'registration') })
  const doc = { _id: 'r-1', name: text }
  const requests = {
    'a list function': () => server.request({ db: 'customers', path: '_design/r/_list/l/v', method: 'POST', body: doc }),
    'a local document': () => shop.insert({ name: text }, '_local/r'),
    'an attachment': () => shop.attachment.insert('r-1', 'a.txt', text, 'text/plain'),
    'an attachment inside': () => shop.insert({ _id: 'r-1', _attachments: { a: { content_type: 'text/plain', data: Buffer.from(text).toString('base64') } } }),
    'all local documents': () => server.request({ db: 'customers', path: '_local_docs' }),
    'a copy inside the database': () => server.request({ db: 'customers', doc: id, method: 'COPY', headers: { Destination: 'r-copy' } }),
    'an update function': () => server.request({ db: 'customers', path: '_design/r/_update/u/r-1', method: 'PUT', body: doc }),
    'a rewrite': () => server.request({ db: 'customers', path: '_design/r/_rewrite/x' }),
    replication: () => server.request({ path: '_replicate', method: 'POST', body: { source: 'products', target: 'customers' } }),
    'another spelling': () => server.request({ db: 'Customers', method: 'POST', body: doc })
  }
  for (const [what, request] of Object.entries(requests)) {
    await refused(request(), 403, 'forbidden', 'route-refused').catch(error => { throw new Error(`${what}: ${error.message}`) })
  }
})
await check('refusals', 'searches that would compare what is sealed', async () => {
  const text = canaries.word()
  const selectors = [{ name: text }, { name: { $gt: text } }, { 'name': { $regex: text } }, { $or: [{ tier: 'x' }, { $not: { address: text } }] }, { phones: { $elemMatch: { $eq: text } } }]
  for (const selector of selectors) await refused(shop.find({ selector }), 400, 'bad_request', 'not-searchable')
  await refused(shop.find({ selector: { tier: 'x' }, sort: ['name'] }), 400, 'bad_request', 'not-searchable')
  await refused(shop.createIndex({ index: { fields: ['name'] } }), 400, 'bad_request', 'not-searchable')
})
await check('refusals', 'design documents that would show what is protected', async () => {
  const map = { views: { v: { map: 'function (doc) { emit(doc.name) }' } } }
  await refused(shop.insert(map, '_design/r'), 403, 'forbidden', 'view-unsafe')
  await refused(shop.bulk({ docs: [{ _id: '_design/r', ...map }] }), 403, 'forbidden', 'view-unsafe')
  await refused(shop.insert({ views: { v: { map: 'function (doc) { emit(doc["na" + "me"]) }' } } }, '_design/r'), 403, 'forbidden', 'view-unsafe')
  await refused(shop.insert({ updates: { u: 'function (doc, req) { return [doc, ""] }' } }, '_design/r'), 403, 'forbidden', 'view-unsafe')
})
await check('refusals', 'a view that was written past the proxy', async () => {
  await direct.insert({ views: { names: { map: 'function (doc) { emit(doc.name) }' } } }, '_design/past')
  await refused(shop.view('past', 'names'), 403, 'forbidden', 'view-unsafe')
  await direct.destroy('_design/past', (await direct.get('_design/past'))._rev)
})
await check('refusals', 'bodies that are not plain JSON', async () => {
  const text = canaries.word()
  for (const [type, extra] of [['text/plain', {}], ['multipart/related; boundary=x', {}], ['application/json', { 'content-encoding': 'deflate' }]]) {
    const reply = await fetch(`${url}/customers/r-2`, { method: 'PUT', headers: { ...identity('shop', 'registration'), 'content-type': type, ...extra }, body: JSON.stringify({ name: text }) })
    assert.equal(reply.status, 415, type)
    assert.equal((await reply.json()).error, 'bad_content_type')
  }
  const override = await fetch(`${url}/customers/r-2`, { method: 'POST', headers: { ...identity('shop', 'registration'), 'content-type': 'application/json', 'x-http-method-override': 'PUT' }, body: JSON.stringify({ name: text }) })
  assert.equal(override.status, 403)
})
await check('refusals', 'a compressed body is protected like any other, or refused', async () => {
  const mine = { name: `Zipped ${canaries.word()}`, tier: 'x' }
  const put = (coding, body) => fetch(`${url}/customers/zipped-${coding}`, { method: 'PUT', headers: { ...identity('shop', 'registration'), 'content-type': 'application/json', 'content-encoding': coding }, body })
  for (const [coding, squeeze] of [['gzip', gzipSync], ['br', brotliCompressSync]]) {
    const reply = await put(coding, squeeze(JSON.stringify(mine)))
    assert.equal(reply.status, 201, await reply.text())
    assert.equal((await shop.get(`zipped-${coding}`)).name, mine.name)
    assert.equal((await put(coding, JSON.stringify(mine))).status, 400)
  }
})
await check('refusals', 'a body without a type is protected like any other', async () => {
  const mine = { name: `Untyped ${canaries.word()}`, tier: 'x' }
  const reply = await fetch(`${url}/customers/untyped`, { method: 'PUT', headers: identity('shop', 'registration'), body: Buffer.from(JSON.stringify(mine)) })
  assert.equal(reply.status, 201, await reply.text())
  assert.equal((await shop.get('untyped')).name, mine.name)
})
await check('refusals', 'two names for one member, and other bad JSON', async () => {
  const text = canaries.word()
  for (const body of [`{"tier":"a","name":"${text}","na\\u006de":"${text}"}`, `{"name":"${text}"`, `{"name":"${text}\\ud800"}`, `\ufeff{"name":"${text}"}`, `[{"name":"${text}"}]`, `{"phones":"${text}"}`]) {
    const reply = await fetch(`${url}/customers/r-3`, { method: 'PUT', headers: { ...identity('shop', 'registration'), 'content-type': 'application/json' }, body })
    const answer = await reply.text()
    assert.ok(reply.status === 400 || reply.status === 422, `${body.replaceAll(text, '…')} gave ${reply.status}`)
    mustNotShow(answer, 'the refusal')
  }
})

// --- what is stored, broken behind the proxy's back
async function tampered (name, change) {
  const document = { name: `Tampered ${canaries.word()}`, address: `530-0001 Umeda ${canaries.word()}`, tier: 'x' }
  await shop.insert(document, name)
  const inside = await direct.get(name)
  await direct.insert(await change(inside), name)
  await refused(shop.get(name), 500, 'internal_server_error', 'value-not-authentic')
}
await check('tampering', 'the stored members are envelopes', async () => {
  const inside = await direct.get(id)
  for (const value of [inside.name, inside.address, inside.phones[0], inside.national_id]) assert.match(value, /^sdr1\.x\.[0-9a-z]{8}\.[A-Za-z0-9_-]+$/)
  assert.equal(inside.tier, stored.tier)
})
await check('tampering', 'one character changed', () => tampered('t-1', doc => {
  const at = doc.name.length - 12
  return { ...doc, name: doc.name.slice(0, at) + (doc.name[at] === 'A' ? 'B' : 'A') + doc.name.slice(at + 1) }
}))
await check('tampering', 'moved to another member', () => tampered('t-2', doc => ({ ...doc, name: doc.address })))
await check('tampering', 'moved to another document', () => tampered('t-3', async doc => ({ ...doc, name: (await direct.get(id)).name })))
await check('tampering', 'clear text in its place', () => tampered('t-4', doc => ({ ...doc, name: 'Someone Else' })))

// --- found by what is not stored: terms of indexes, and tokens
const lodgers = nano({ url, headers: identity('shop', 'registration') }).use('lodgers')
const lodgersAs = (caller, purpose) => nano({ url, headers: identity(caller, purpose) }).use('lodgers')
const lodgersInside = nano(databaseUrl).use('lodgers')
const word = canaries.word()
const number = String(randomInt(30_000_000, 40_000_000))
const lodger = {
  name: `Zoë ${canaries.word()}`,
  contact: { email: `zoe.${word}@Shop.Example` },
  phones: [canaries.text(`+813${number}`), `+81355${canaries.digits(12)}`],
  member_no: `M-Zoë-${canaries.word()}`,
  tier: canaries.word('control')
}
const other = { name: `Mei ${canaries.word()}`, contact: { email: `mei.${canaries.word()}@shop.example` }, phones: [], member_no: `M-${canaries.word()}`, tier: 'other' }
const wide = text => text.replace(/[!-~]/g, c => String.fromCharCode(c.charCodeAt(0) + 0xfee0))
// The ids that a search finds. No term and no token stands in what its client gets.
const hidesTerms = text => assert.doesNotMatch(text, /ix1\.|tok1_|_ix/, 'a term or a token is shown')
async function found (database, selector, more = {}) {
  const reply = await database.find({ selector, ...more })
  hidesTerms(JSON.stringify(reply.docs))
  return reply.docs.map(doc => doc._id).sort()
}

await check('found', 'written: sealed, with terms and a token', async () => {
  await nano({ url, headers: identity('shop', 'registration') }).db.create('lodgers')
  await lodgers.insert(lodger, 'l-1')
  await lodgers.insert(other, 'l-2')
  const inside = await lodgersInside.get('l-1')
  assert.match(inside.contact.email, /^sdr1\.x\./)
  assert.match(inside.email_ix, /^ix1\.[0-9a-z]{8}\.[0-9a-z]{13}$/)
  assert.deepEqual(inside.phones_ix.map(term => term.slice(0, 4)), ['ix1.', 'ix1.'])
  assert.match(inside.member_no, /^tok1_[0-9a-z]{26}$/)
  mustNotShow(JSON.stringify(inside), 'the database')
})
await check('found', 'by an e-mail address in every spelling', async () => {
  const { email } = lodger.contact
  for (const spelling of [email, email.toUpperCase(), ` ${email}.`, wide(email), email.replace('@', '\u200b@'), email.replace('zoe', 'z\u00adoe')]) {
    assert.deepEqual(await found(lodgers, { 'contact.email': spelling }), ['l-1'], JSON.stringify(spelling))
  }
  assert.deepEqual(await found(lodgers, { 'contact.email': { $in: [email, other.contact.email] } }), ['l-1', 'l-2'])
  assert.deepEqual(await found(lodgers, { $or: [{ 'contact.email': { $eq: email } }, { 'contact.email': 'nobody@shop.example' }], tier: lodger.tier }), ['l-1'])
  assert.deepEqual(await found(lodgers, { 'contact.email': email.replace('zoe', 'joe') }), [])
})
await check('found', 'by a telephone number in every spelling', async () => {
  const [four, rest] = [number.slice(0, 4), number.slice(4)]
  for (const spelling of [`+813${number}`, `03-${four}-${rest}`, `(03) ${four} ${rest}`, `0081 3 ${number}`, `+81 (0)3 ${number}`, wide(`03-${four}-${rest}`), `tel:+81-3-${four}-${rest}`]) {
    assert.deepEqual(await found(lodgers, { telephone: spelling }), ['l-1'], spelling.replaceAll(/\d/g, '9'))
  }
  assert.deepEqual(await found(lodgers, { phones: { $elemMatch: { $eq: lodger.phones[1] } } }), ['l-1'])
  assert.deepEqual(await found(lodgers, { telephone: '03-9999-0000' }), [])
})
await check('found', 'by a token, composed or not', async () => {
  for (const form of ['NFC', 'NFD']) assert.deepEqual(await found(lodgers, { member_no: lodger.member_no.normalize(form) }), ['l-1'], form)
  assert.deepEqual(await found(lodgers, { member_no: { $in: [lodger.member_no, other.member_no, 'M-nobody'] } }), ['l-1', 'l-2'])
  for (const wrong of ['M-nobody', lodger.member_no.toLowerCase()]) assert.deepEqual(await found(lodgers, { member_no: wrong }), [])
})
await check('found', 'with an index of the database on the terms', async () => {
  await lodgersInside.createIndex({ index: { fields: ['email_ix'] }, name: 'by-email' })
  assert.deepEqual(await found(lodgers, { 'contact.email': lodger.contact.email }), ['l-1'])
})
await check('found', 'through a view whose keys are terms', async () => {
  await lodgers.insert({ views: { by_email: { map: 'function (doc) { if (doc.email_ix) emit(doc.email_ix, null) }' } } }, '_design/desk')
  const reply = await lodgers.view('desk', 'by_email', { key: lodger.contact.email.toUpperCase(), include_docs: true })
  assert.deepEqual(reply.rows.map(row => row.doc._id), ['l-1'])
  assert.equal(reply.rows[0].doc.name, lodger.name)
  hidesTerms(JSON.stringify(reply.rows))
})
await check('found', 'by who may search and not see', async () => {
  const helpdesk = lodgersAs('helpdesk', 'support')
  for (const selector of [{ 'contact.email': lodger.contact.email }, { telephone: lodger.phones[0] }, { member_no: lodger.member_no }]) {
    const { docs: [doc, ...more] } = await helpdesk.find({ selector })
    assert.deepEqual([doc._id, doc.name, more.length], ['l-1', lodger.name, 0])
    assert.ok(!JSON.stringify(doc).includes(word) && !('member_no' in doc))
    hidesTerms(JSON.stringify(doc))
  }
  for (const selector of [{ 'contact.email': lodger.contact.email }, { member_no: lodger.member_no }]) {
    await refused(lodgersAs('mailer', 'marketing').find({ selector }), 403, 'forbidden', 'search-refused')
  }
})
await check('found', 'terms and tokens are never seen', async () => {
  for (const [caller, purpose] of [['shop', 'registration'], ['shipping', 'delivery'], ['helpdesk', 'support'], ['mailer', 'marketing'], ['analyst', 'statistics']]) {
    const database = lodgersAs(caller, purpose)
    for (const reply of [await database.get('l-1'), await database.list({ include_docs: true, startkey: 'l-' }), await database.fetch({ keys: ['l-1', 'l-2'] }), (await database.changes({ include_docs: true })).results.filter(change => change.id.startsWith('l-'))]) {
      hidesTerms(JSON.stringify(reply))
    }
  }
  const { _id, _rev, ...whole } = await lodgers.get('l-1')
  assert.deepEqual(whole, { ...lodger, member_no: lodger.member_no.normalize('NFC') })
})
await check('found', 'not by a term that was pasted', async () => {
  const [one, two] = [await lodgersInside.get('l-1'), await lodgersInside.get('l-2')]
  await lodgersInside.insert({ ...two, email_ix: one.email_ix, phones_ix: one.phones_ix })
  const inside = await lodgersInside.find({ selector: { email_ix: one.email_ix } })
  assert.deepEqual(inside.docs.map(doc => doc._id).sort(), ['l-1', 'l-2'], 'the database itself finds both')
  assert.deepEqual(await found(lodgers, { 'contact.email': lodger.contact.email }), ['l-1'])
  assert.deepEqual(await found(lodgers, { telephone: lodger.phones[0] }), ['l-1'])
  const reply = await lodgers.view('desk', 'by_email', { key: lodger.contact.email, include_docs: true })
  assert.deepEqual(reply.rows.map(row => row.doc._id), ['l-1'])
  // Writing the document makes its own terms again.
  const { _rev, ...mine } = await lodgers.get('l-2')
  await lodgers.insert({ ...mine, _rev }, 'l-2')
  assert.equal((await lodgersInside.get('l-2')).email_ix, two.email_ix)
  assert.deepEqual(await found(lodgers, { 'contact.email': other.contact.email }), ['l-2'])
})
await check('found', 'nothing by other operators, and terms are nobody\'s to write', async () => {
  const { contact: { email }, member_no: token } = lodger
  const selectors = [{ 'contact.email': { $gt: email } }, { 'contact.email': { $regex: email } }, { 'contact.email': { $ne: email } }, { 'contact.email': { $nin: [email] } }, { $not: { 'contact.email': email } },
    { $nor: [{ 'contact.email': email }] }, { 'contact.email': '' }, { 'contact.email': 'no address' }, { contact: { email } }, { telephone: { $lt: '+81' } }, { member_no: { $gte: token } }, { member_no: { $regex: token } },
    { email_ix: (await lodgersInside.get('l-1')).email_ix }]
  for (const selector of selectors) await refused(lodgers.find({ selector }), 400, 'bad_request', 'not-searchable').catch(error => { throw new Error(`${Object.keys(selector)} ${JSON.stringify(selector).match(/\$\w+/)?.[0]}: ${error.message}`) })
  const reply = await failure(lodgers.insert({ ...other, email_ix: 'ix1.7k3m9qpa.0000000000000' }, 'l-3'))
  assert.equal(reply.type, 'docs/errors.md#index-member', reply.text)
  mustNotShow(reply.text, 'the refusal')
})

writeFileSync(canariesFile, JSON.stringify(canaries.known))
process.exit(checks.finish('only through Sudare', resultsFile) ? 0 : 1)
