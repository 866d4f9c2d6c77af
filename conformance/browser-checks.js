'use strict';
/* Holds the parts of browser-verifier.html to the vectors and tables of docs/formats:
   node conformance/browser-checks.js. The tests run the same function inside the page. */

/** What is wrong, in words. `vectors` is the text of vectors.json, `pages` the text of the pages by name. */
async function checkParts(parts, vectors, pages) {
  const failures = [];
  const given = JSON.parse(vectors);
  const expect = (name, found, wanted) => {
    const [a, b] = [found, wanted].map(value => JSON.stringify(value));
    if (a !== b) failures.push(`${name}: ${a?.slice(0, 300)}, expected ${b?.slice(0, 300)}`);
  };
  const {fromHex, toHex, utf8} = parts;
  const attempt = (call, ...values) => {
    try {
      return call(...values);
    } catch (error) {
      return `threw ${error.message}`;
    }
  };
  /** The object of a kind that is given as plain JSON. */
  const read = value => parts.readAs([value.kind], utf8(parts.canonicalText(parts.readJson(utf8(JSON.stringify(value))))));

  function canonicalForms() {
    for (const {text, canonical} of given.canonical) {
      let found = null;
      try {
        const value = parts.readJson(utf8(text));
        if (parts.obeysTable(value)) found = parts.canonicalText(value);
      } catch {
        // refused: null
      }
      expect(`canonical form of ${text}`, found, canonical);
    }
    for (const {text, valid} of given.times) expect(`time ${text}`, parts.isTime(text), valid);
    expect('digest', parts.digestOf(fromHex(given.digest.data)), given.digest.digest);
    const {key, data, commitment} = given.commitment;
    expect('commitment', `sha256:${toHex(parts.hmacSha256(fromHex(key), fromHex(data)))}`, commitment);
  }

  function containers() {
    const members = Object.entries(given.container.members).map(([name, data]) => ({name, data: fromHex(data)}));
    const bytes = parts.writeContainer(members);
    expect('container', toHex(bytes), given.container.bytes);
    expect('members', parts.readContainer(bytes).map(({name}) => name), Object.keys(given.container.members).sort());
  }

  function texts() {
    for (const {text, e, qq, q} of given.quoting) {
      expect(`e of ${text}`, parts.escapeHidden(text), e);
      expect(`qq of ${text}`, parts.inQuotes(text), qq);
      expect(`q of ${text}`, parts.quoted(text), q);
    }
    for (const {name, key} of given.person_keys) expect(`person key of ${name}`, parts.personKey(name), key);
  }

  function patterns() {
    const {values, patterns: list} = given.patterns;
    for (const {pattern, affordable_up_to, takes} of list) {
      let most = null;
      for (let length = 0; length <= 4096 && parts.isAffordable(pattern, length); length++) most = length;
      expect(`cost of ${pattern}`, most, affordable_up_to);
      if (takes === 'not tried') continue;
      const taken = values.filter(value => parts.matchesWhole(pattern, value));
      expect(`what ${pattern} takes`, taken, takes ?? []);
    }
  }

  function calls() {
    for (const {template, template_digest, values, filled_digest} of given.calls) {
      const call = read(template);
      expect('call digest', parts.callDigest(call), template_digest);
      expect('filled call', parts.filledDigest(call, new Map(Object.entries(values))), filled_digest);
    }
    for (const {steps, scope, undo_scope} of given.scopes) {
      const calls = steps.map(read).filter(step => step.kind === 'call-step/1');
      expect('scopes', parts.scopesOf(calls), {work: scope, undo: undo_scope});
    }
    for (const {terms, digest} of given.terms) {
      expect('terms digest', parts.digestOf(utf8(parts.canonicalText(parts.readJson(utf8(JSON.stringify(terms)))))), digest);
    }
    for (const {intent, plan, plan_digest, text, digest} of given.previews) {
      const [asked, planned] = [intent, plan].map(record => attempt(parts.readRecord, bytesOf(record)));
      expect('plan digest', planned.digest, plan_digest);
      expect('preview', attempt(parts.previewOf, asked, planned), text);
      expect('preview digest', attempt(parts.previewDigest, asked, planned), digest);
    }
  }

  const bytesOf = value => utf8(parts.canonicalText(parts.readJson(utf8(JSON.stringify(value)))));

  function trees() {
    const {leaves, roots, inclusion, consistency} = given.tree;
    const hashes = leaves.map(({data}) => parts.leafHash(fromHex(data)));
    leaves.forEach(({hash}, i) => expect(`leaf ${i}`, toHex(hashes[i]), hash));
    roots.forEach((root, size) => expect(`root of ${size}`, parts.treeRoot(leaves.slice(0, size).map(({data}) => fromHex(data))), root));
    for (const {index, size, path} of inclusion) {
      const check = (at, nodes) => parts.checkInclusion(hashes[index], at, size, nodes.map(fromHex), fromHex(roots[size]));
      expect(`inclusion of ${index} in ${size}`, check(index, path), 'right');
      expect(`inclusion of ${index} in ${size}, one hash more`, check(index, [...path, roots[1]]), 'malformed');
      if (path.length) expect(`inclusion of ${index} in ${size}, one hash less`, check(index, path.slice(1)), 'malformed');
      if (path.length) expect(`inclusion of ${index} in ${size}, another hash`, check(index, [roots[0], ...path.slice(1)]), 'wrong');
    }
    for (const {old, new: size, path} of consistency) {
      const check = nodes => parts.isConsistent(old, size, fromHex(roots[old]), fromHex(roots[size]), nodes.map(fromHex));
      expect(`consistency of ${old} and ${size}`, check(path), true);
      expect(`consistency of ${old} and ${size}, one hash more`, check([...path, roots[1]]), false);
      if (path.length) expect(`consistency of ${old} and ${size}, one hash less`, check(path.slice(0, -1)), false);
    }
  }

  async function keys() {
    for (const {raw, line, fingerprint, pem, note_name, note_key_ids, vkeys} of given.keys) {
      for (const key of [parts.readKeyLine(line), parts.readPem(pem), ...Object.values(vkeys).map(vkey => parts.readVkey(vkey).key)]) {
        expect('raw key', toHex(key.raw), raw);
        expect('fingerprint', key.fingerprint, fingerprint);
      }
      for (const [type, id] of Object.entries(note_key_ids)) expect('key id', toHex(parts.noteKeyId(note_name, Number(type), fromHex(raw))), id);
    }
    const {note, log, witness} = given.notes;
    const checkpoint = parts.readCheckpoint(utf8(note));
    const entries = [{name: checkpoint.origin, type: 1, key: parts.readKeyLine(log)}, {name: 'witness.example', type: 4, key: parts.readKeyLine(witness)}];
    const {state, by} = await parts.checkNote(checkpoint.note, entries);
    expect('note', [state, by.map(({name}) => name)], ['right', [checkpoint.origin, 'witness.example']]);
    const altered = parts.readNote(utf8(note.replace('\n1\n', '\n2\n')));
    expect('altered note', (await parts.checkNote(altered, entries)).state, 'wrong');
    expect('note of others', (await parts.checkNote(altered, [])).state, 'unsigned');
  }

  async function signatures() {
    const {record, digest, payload, pae, envelope, key} = given.envelopes;
    const receipt = parts.readRecord(bytesOf(record));
    expect('record', receipt.digest, digest);
    expect('published form', toHex(parts.publishedForm(receipt)), toHex(utf8(payload)));
    const opened = parts.readEnvelope(utf8(envelope));
    expect('what is signed', toHex(parts.preAuthentication(opened.type, opened.payload)), pae);
    expect('envelope', await parts.signedEnvelope(opened, [{key: parts.readKeyLine(key)}]), 'right');
    opened.payload[0] ^= 1;
    expect('altered envelope', await parts.signedEnvelope(opened, [{key: parts.readKeyLine(key)}]), 'wrong');
    const {message, namespace, armored} = given.sshsig;
    const signer = parts.readKeyLine(given.sshsig.key);
    const by = await parts.checkSshSignature(armored, namespace, utf8(message), signer.fingerprint);
    expect('SSHSIG', by.fingerprint, signer.fingerprint);
    const answer = await parts.checkSshSignature(armored, namespace, utf8(`${message}!`), signer.fingerprint).catch(error => error.message);
    expect('SSHSIG over something else', answer, 'it does not verify');
  }

  /** The arithmetic that stands in for a browser without Ed25519 gives the same answers. */
  async function ed25519ByHand() {
    const {envelope, key} = given.envelopes;
    const {raw} = parts.readKeyLine(key);
    const {type, payload, signatures: [{sig}]} = parts.readEnvelope(utf8(envelope));
    const message = parts.preAuthentication(type, payload);
    expect('by hand', await parts.verifyEd25519ByHand(raw, message, sig), true);
    for (const bit of [0, 100, 255, 256, 300]) {
      const altered = sig.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      expect(`by hand, bit ${bit}`, await parts.verifyEd25519ByHand(raw, message, altered), false);
      expect(`bit ${bit}`, await parts.verifyEd25519(raw, message, altered), false);
    }
  }

  /** The tables in the verifier are those of the pages, field by field. */
  function tables() {
    const rows = [...pages.records.matchAll(/^## `([a-z]+\/1)`\n([^]*?)(?=^## )/gm)].flatMap(([, kind, section]) =>
      [...section.matchAll(/^\| `([a-z_]+)` \| ([^|]+?) \| ([^|]*?) ?\|/gm)].map(row => [kind, ...row.slice(1)]));
    const objects = pages.records.slice(pages.records.indexOf('## Objects'), pages.records.indexOf('## Calls'));
    rows.push(...[...objects.matchAll(/^\| ([a-z0-9/-]+) \| `([a-z_]+)` \| ([^|]+?) \| ([^|]*?) ?\|/gm)].map(row => row.slice(1)));
    expect('rows of records.md are found', rows.length > 200, true);
    const common = new Set(['operation', 'n', 'prev', 'at', 'by']);
    const own = [...parts.SHAPES].filter(([name]) => rows.some(([shape]) => shape === name)).flatMap(([name, {fields}]) =>
      [...fields].filter(([field]) => !(parts.RECORD_SHAPES.has(name) && common.has(field)))
        .map(([field, {type, fallback}]) => [name, field, type, fallback ?? '']));
    const line = row => row.map(cell => cell.replaceAll('`', '').trim()).join(' | ');
    expect('fields', own.map(line).sort(), rows.map(line).sort());
    const words = pages.records.slice(pages.records.indexOf('## Words'), pages.records.indexOf('## Fields of'));
    for (const [, word, values] of words.matchAll(/^\| ([a-z-]+) \| (`.+?) \|$/gm)) {
      expect(`word ${word}`, parts.WORDS.get(word), [...values.split(';')[0].matchAll(/`([^`]+)`/g)].map(([, value]) => value));
    }
    const codes = [...pages.verification.matchAll(/^\| `(E\d\d[a-z])` \| (.+?) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
    expect('codes', Object.entries(parts.MEANINGS), codes);
    const steps = [...pages.verification.matchAll(/^### Step \d+: (.+)$/gm)].map(([, name]) => name);
    expect('steps', parts.STEPS.slice(1), steps);
  }

  for (const check of [canonicalForms, containers, texts, patterns, calls, trees, keys, signatures, ed25519ByHand, tables]) {
    try {
      await check();
    } catch (error) {
      failures.push(`${check.name}: ${error.stack}`);
    }
  }
  return failures;
}

if (typeof require === 'function') {
  const {readFileSync} = require('node:fs');
  const {join} = require('node:path');
  const {runInThisContext} = require('node:vm');
  const formats = join(__dirname, '..', 'docs', 'formats');
  const page = readFileSync(join(__dirname, 'browser-verifier.html'), 'utf8');
  runInThisContext(/<script id="verifier">([^]*?)<\/script>/.exec(page)[1], {filename: 'browser-verifier.html'});
  const [records, verification] = ['records.md', 'verification.md'].map(name => readFileSync(join(formats, name), 'utf8'));
  checkParts(globalThis.verifyBundle.parts, readFileSync(join(formats, 'vectors.json'), 'utf8'), {records, verification}).then(failures => {
    console.log(failures.length ? failures.join('\n') : 'every vector and table holds');
    process.exitCode = failures.length ? 1 : 0;
  });
}
