// What the scripts of this folder share: named checks in groups, and values that are found again wherever they turn up.
import assert from 'node:assert/strict'
import { randomBytes, randomInt } from 'node:crypto'
import { writeFileSync } from 'node:fs'

export { assert }

// Runs named checks. A check returns what a client saw, less what differs from run to run; the runs are compared by it.
export class Checks {
  results = []
  refused = new Map()

  // A check that takes longer than `seconds` fails: a client that waits for ever is a failure like any other.
  async check (group, name, look, seconds = 30) {
    this.refused.clear()
    let timer
    const late = new Promise((resolve, reject) => { timer = setTimeout(() => reject(new Error(`no answer within ${seconds} s`)), seconds * 1000) })
    try {
      const seen = await Promise.race([look(), late])
      this.results.push({ group, name, passed: true, seen: seen ?? null, refused: [...this.refused.values()] })
    } catch (error) {
      const why = String(error?.message ?? error).split('\n').slice(0, 12).join('\n    ')
      this.results.push({ group, name, passed: false, why, refused: [...this.refused.values()] })
    } finally {
      clearTimeout(timer)
    }
  }

  // Keeps a refusal of Sudare's own with the check it belongs to: method, route, code. `body` is what the client got.
  refusal (method, url, body) {
    const code = /"type":"docs\/errors\.md#([a-z-]+)"/.exec(body)?.[1]
    if (!code) return
    const { pathname, searchParams } = new URL(url)
    const names = [...new Set(searchParams.keys())].sort().join('&')
    const request = `${method} ${decodeURIComponent(pathname)}${names && `?${names}`}`
    this.refused.set(`${request} ${code}`, { request, code })
  }

  // Prints the counts and writes the results; true if all passed.
  // `quiet`: what failed is judged by compare.mjs, with the list of what may.
  finish (title, file, quiet = false) {
    for (const { group, name, why } of quiet ? [] : this.results.filter(result => !result.passed)) console.log(`  FAILED  ${group}: ${name}\n    ${why}`)
    const groups = [...new Set(this.results.map(result => result.group))]
    for (const group of groups) {
      const own = this.results.filter(result => result.group === group)
      console.log(`  ${group.padEnd(12)} ${String(own.filter(result => result.passed).length).padStart(3)} of ${own.length} passed`)
    }
    const passed = this.results.filter(result => result.passed).length
    console.log(`${title}: ${passed} of ${this.results.length} passed`)
    if (file) writeFileSync(file, JSON.stringify(this.results, null, 1))
    return passed === this.results.length && passed > 0
  }
}

// What a client library reports of a failure, less the request, which it keeps beside it.
export async function failure (promise) {
  try {
    await promise
  } catch (error) {
    return { status: error.statusCode, error: error.error, reason: error.reason, type: error.type, text: JSON.stringify([error.statusCode, error.error, error.reason, error.type, error.message]) }
  }
  throw new Error('this should have failed, and did not')
}

// Makes values nobody else has. `word` and `digits` are remembered under `kind`.
export class Canaries {
  known = { protected: [], control: [] }

  word (kind = 'protected') {
    const word = 'q' + BigInt('0x' + randomBytes(12).toString('hex')).toString(36).padStart(19, '0')
    this.known[kind].push(word)
    return word
  }

  digits (count, kind = 'protected') {
    const digits = String(randomInt(1, 10)) + Array.from({ length: count - 1 }, () => randomInt(0, 10)).join('')
    this.known[kind].push(digits)
    return digits
  }

  // A whole text, for the escapes of its characters outside ASCII.
  text (text, kind = 'protected') {
    this.known[kind].push(text)
    return text
  }
}
