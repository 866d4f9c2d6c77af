'use strict';
/* Holds the parts of browser-verifier.html to the vectors and tables of docs/formats:
   node conformance/browser-checks.js. The tests run the same function inside the page. */

/* SSH signatures over `a message`, made with OpenSSL: suite, what is said, SSHSIG in base64. */
const SIGNATURES = [
  ['ecdsa-sha2-nistp256', 'right', [
    'U1NIU0lHAAAAAQAAAGgAAAATZWNkc2Etc2hhMi1uaXN0cDI1NgAAAAhuaXN0cDI1NgAAAEEEsTG0DTFJPude5DMw4jeBW9Zb/9TovXd9yn6b7H',
    'QUJyoLs+VAh2Y+34vcMnV8ItTy+SJc6IrVP51WE5tcdhhQBwAAABBhcHByb3ZhbEByZXhlY29wAAAAAAAAAAZzaGE1MTIAAABjAAAAE2VjZHNh',
    'LXNoYTItbmlzdHAyNTYAAABIAAAAIFntEruFVBZi5xSMmU0AM4a3npjvJbp/Sd4lLPQiES0PAAAAIF6g4OWrTHiK5zaRliHN6r6N+FQxssQfTY',
    'qYWjauheXY',
  ].join('')],
  ['ecdsa-sha2-nistp384', 'right', [
    'U1NIU0lHAAAAAQAAAIgAAAATZWNkc2Etc2hhMi1uaXN0cDM4NAAAAAhuaXN0cDM4NAAAAGEEEx0+z0O+YhiK77gRJqAlXwbO8dOuaA7psX8jsY',
    'u1CsosDiRKFFsIF053YecdR53xTLkGbWRiG61ReBK4qqi7yN7kxVw/5RXIS58u+iFMllONo4rnGX81WJik+chMW9N+AAAAEGFwcHJvdmFsQHJl',
    'eGVjb3AAAAAAAAAABnNoYTUxMgAAAIQAAAATZWNkc2Etc2hhMi1uaXN0cDM4NAAAAGkAAAAwEzIF7uEn6FG1TQz7XccXPEoCERW4w16/HDc0bd',
    'FKohWjs6fT647a88Ea0Ql+AG2lAAAAMQC2HHyTzkWSakFPhFZKQbjzT482GuRDYcbTINkl1WKW5fonja9jQRfMYaiKTss/ZNo=',
  ].join('')],
  ['ecdsa-sha2-nistp521', 'right', [
    'U1NIU0lHAAAAAQAAAKwAAAATZWNkc2Etc2hhMi1uaXN0cDUyMQAAAAhuaXN0cDUyMQAAAIUEAYcbsvzxHJHrKf9vR78quWwJAty4ovyqnFGuY6',
    '+fwyrMKNI8EtJLYSFW7T425eVVwzijXB0LlwbnAShCr10/CduwAShbu+2lIyiFWWHu6hzOgEDcm834hLvFr1yfBK0eQXilcbqt/nwmgq4Cll6R',
    'cNgXqde9zSS1qM0/zrVV+oqRq/NwAAAAEGFwcHJvdmFsQHJleGVjb3AAAAAAAAAABnNoYTUxMgAAAKcAAAATZWNkc2Etc2hhMi1uaXN0cDUyMQ',
    'AAAIwAAABCANNnS3Ylc1VbdMUx0KgZ9+UF6SfXUpvGSJwA8tQuWST6iSkyGBidlB1iLrGk+rwNrZRGMf14FNMVsafFlT05EEXhAAAAQgDWh9nb',
    'QzEav0C2Eq4yRoA9jDk9EcpqY+GfNOeJWQCvjz7sy3J9n2rOgocttZ0e4PcRCJA0HrA8+7A+gShUGG4kTA==',
  ].join('')],
  ['rsa-sha2-512', 'right', [
    'U1NIU0lHAAAAAQAAARcAAAAHc3NoLXJzYQAAAAMBAAEAAAEBAKMP5KQX8DlW8FOF5NrcYeswT6R3ueRYdjpiywYP5GOwL9WwTRJG2Hlq3OCEAx',
    'qU1lWbTNMj1c8UhQEx4UOwG68YYG9LFbCaM0e6rl2tBI2nd7Ol6d3Uf/59Rdlq9UakjfWkoZQMklFmLfnzCMGlVqwCsdsCiq0qjVEaC56M+0Ex',
    'Gll4OZ0U1RYA5yy9xwWmy1dzyaqMFNW4s2VXGSoMV5j9oCTzFVNF948Lbm1IDEz+S+E4MS2HtE2J5N0xmDIeK2KKzpt/GBB9dMpJVypMTiu8AM',
    'qZikGvq9GeqwRRIt9Kgnf7AhunaQsdRSspJb/vrzLFscrvfVRjhbsBtlEJP78AAAAQYXBwcm92YWxAcmV4ZWNvcAAAAAAAAAAGc2hhNTEyAAAB',
    'FAAAAAxyc2Etc2hhMi01MTIAAAEAQVl8CxOyQyu0Z4wDfgbQZaCSfl4+MP2rMiVQibxu7w63SE5kpa91X6RX67EHU9fwQT6aHzh763beGB4mWZ',
    'z6eg5gxqyn2vFGdC0Mc5aQOw6G+5vDmngSJvfs/QFMBBf/oZ9bJyF3RBICMj00DKvRWW5DtgooErQZLd1TB7Dfalb3mf9m5dEK3QBW8NDEBFTj',
    'yVb9RNXSou1NDW7CTxrTbsgqmkyWV2llMZ/KLlT97xaCVO33KuzP1uKUdlBHSWX5PXfQQPRGqfL9LNhZZmiROTUfgsjeko+HCrGx2a2aKlbOZA',
    'rxFDL8tNm4Z/iMvHrI8OhaIYj4UHdtnoHKiVYPUw==',
  ].join('')],
  ['rsa-sha2-256', 'right', [
    'U1NIU0lHAAAAAQAAARcAAAAHc3NoLXJzYQAAAAMBAAEAAAEBAKMP5KQX8DlW8FOF5NrcYeswT6R3ueRYdjpiywYP5GOwL9WwTRJG2Hlq3OCEAx',
    'qU1lWbTNMj1c8UhQEx4UOwG68YYG9LFbCaM0e6rl2tBI2nd7Ol6d3Uf/59Rdlq9UakjfWkoZQMklFmLfnzCMGlVqwCsdsCiq0qjVEaC56M+0Ex',
    'Gll4OZ0U1RYA5yy9xwWmy1dzyaqMFNW4s2VXGSoMV5j9oCTzFVNF948Lbm1IDEz+S+E4MS2HtE2J5N0xmDIeK2KKzpt/GBB9dMpJVypMTiu8AM',
    'qZikGvq9GeqwRRIt9Kgnf7AhunaQsdRSspJb/vrzLFscrvfVRjhbsBtlEJP78AAAAQYXBwcm92YWxAcmV4ZWNvcAAAAAAAAAAGc2hhNTEyAAAB',
    'FAAAAAxyc2Etc2hhMi0yNTYAAAEAPC4IRKbBxoDSNe4RTxJO+uCP+F1kgc+kGBAf7aJdSkVvYJMBrymgzdanXXJU+K8Ks6fYCyRdI0RX9AEN6V',
    'x9eITCm4KPCcKQrVW/+j25Jz9n5mn3qTgUxlLfLArF0kEt8E3ot5kZbQx4rEdCWPctyuGSgRYNyFt7m29CcFj/H5+gbuhUqpMuTQY5+5ehNtVA',
    'gciB9NMjryUZ/B7gVjxnL9HIZTD3WTCINE6s6/t/DJIGl+rTHmJXVPxhHvuPIB2/3hEBsmpe7pJpdajOGmTbHNJQ7dHTHhYJGBD8UX1RhDpMOP',
    '+X+UTlx3+ossc6MpZV9GmMBiLZf5IMpSWWsKW0NA==',
  ].join('')],
  ['ssh-rsa', 'algorithm `ssh-rsa`', [
    'U1NIU0lHAAAAAQAAARcAAAAHc3NoLXJzYQAAAAMBAAEAAAEBAKMP5KQX8DlW8FOF5NrcYeswT6R3ueRYdjpiywYP5GOwL9WwTRJG2Hlq3OCEAx',
    'qU1lWbTNMj1c8UhQEx4UOwG68YYG9LFbCaM0e6rl2tBI2nd7Ol6d3Uf/59Rdlq9UakjfWkoZQMklFmLfnzCMGlVqwCsdsCiq0qjVEaC56M+0Ex',
    'Gll4OZ0U1RYA5yy9xwWmy1dzyaqMFNW4s2VXGSoMV5j9oCTzFVNF948Lbm1IDEz+S+E4MS2HtE2J5N0xmDIeK2KKzpt/GBB9dMpJVypMTiu8AM',
    'qZikGvq9GeqwRRIt9Kgnf7AhunaQsdRSspJb/vrzLFscrvfVRjhbsBtlEJP78AAAAQYXBwcm92YWxAcmV4ZWNvcAAAAAAAAAAGc2hhNTEyAAAB',
    'DwAAAAdzc2gtcnNhAAABADvW5ylzCUptVx2jJbMg/R2Y3AlHVIWOTjWSMYDyhEUU8IjhWHNO2RbZ+CDwxhDnHEiXPnrgnyBppC/7wlnmLQ6cof',
    'peiyQ5KV8fYcY9rmPSZla4wj0BIdLPypPkJgiyh1rzMOoTTTceorIcOnOHoOjbBM9Au8gHpzoQSxxi7CR87HtNE+lsmU+Qq8VKdILwKJ4d8kde',
    'nXM2L+KGbZGF76V4iN5SBXoozwyMqz8JNbjO8PjdrfnFAp0RG6qreh6n0rzITOy8MuBP/GIC/tR0GkrKbz7TSniaeRN4l/I9HvzhoZlXvVL20P',
    'l6ElecCDvA+BfmwueOAeJ5HhhwnS/ow+8=',
  ].join('')],
  ['sk-ssh-ed25519@openssh.com', 'right', [
    'U1NIU0lHAAAAAQAAAEoAAAAac2stc3NoLWVkMjU1MTlAb3BlbnNzaC5jb20AAAAgyTfr7iN0ARiAddyd9DBSW+89qfpVUUWz1qM4wfmhCtQAAA',
    'AEc3NoOgAAABBhcHByb3ZhbEByZXhlY29wAAAAAAAAAAZzaGE1MTIAAABnAAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAQCVgCwEQ',
    'P/ayCxbgUTJsPQv8s+D7quGC0RTm40yQegocfdT5U4L1l75tNK5hkl3EpBHBBPELPFDW+A9F75KekQgBAAAACQ==',
  ].join('')],
  ['sk-ssh-ed25519@openssh.com', 'its user was not present', [
    'U1NIU0lHAAAAAQAAAEoAAAAac2stc3NoLWVkMjU1MTlAb3BlbnNzaC5jb20AAAAg/KtE+H0pLXaBev9MrbPVC5xblxi7UAHlNDYgWnAVKEoAAA',
    'AEc3NoOgAAABBhcHByb3ZhbEByZXhlY29wAAAAAAAAAAZzaGE1MTIAAABnAAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAQIDOY/lg',
    'V87lCjpHh776W8jmn5L/hukCCB7OKTF1FcueObRCD1OiUwP9U1n1Cwx2Pe2nM1N6QqMoNVqpHNsvRgEEAAAACQ==',
  ].join('')],
  ['sk-ecdsa-sha2-nistp256@openssh.com', 'right', [
    'U1NIU0lHAAAAAQAAAH8AAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQAAAAhuaXN0cDI1NgAAAEEEHEpltESFI0LujkP9ce',
    'x0lgzrwnLJ4+B2C4YMrAIKLOvSOgNJ289BnuBlqELg8PN47m26IW0ixS6GL7VEgLsQfgAAAARzc2g6AAAAEGFwcHJvdmFsQHJleGVjb3AAAAAA',
    'AAAABnNoYTUxMgAAAHgAAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQAAAEkAAAAgDVdmBzIK4TSTJwN63qZ7JZ+5sJym96',
    'Jo8c7QYElpta4AAAAhAJu6/sii/d8nh4fU1w2gE14gE8N3zCk3RWeSjB3LOvVBAQAAAAk=',
  ].join('')],
  ['sk-ecdsa-sha2-nistp256@openssh.com', 'its user was not present', [
    'U1NIU0lHAAAAAQAAAH8AAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQAAAAhuaXN0cDI1NgAAAEEEK+PaKnuk+XTdUU+yA8',
    'PVvehlNrZln5OoJq2a3xOmZCm5mPfW7Ymfx4Ojs9aJHtJWCX4qyrX1B1e5L+EYooIJ7gAAAARzc2g6AAAAEGFwcHJvdmFsQHJleGVjb3AAAAAA',
    'AAAABnNoYTUxMgAAAHcAAAAic2stZWNkc2Etc2hhMi1uaXN0cDI1NkBvcGVuc3NoLmNvbQAAAEgAAAAgBo4BorG8kBySOoWKJDMHn+byGHLl3V',
    'PUVbX9bHIoiuwAAAAgZDkB8CbNv9+e7h5cXtIHE7korsCH5dG7dmEEM4Rm350EAAAACQ==',
  ].join('')],
];

/* A time stamp by OpenSSL: over STAMPED, ECDSA over P-256 with SHA-384, its certificate named by SHA-1, one certificate between. */
const STAMPED = 'rexecop/inst_demo/1\n38\nUJbUENbf2TNDatwCP+FhXk81m0nYAokO2ghHpZBB06Y=\n';
const STAMP = {
  authority: [
    '-----BEGIN CERTIFICATE-----',
    'MIIBaDCCAQ6gAwIBAgIUXEt+qk++9yTG48XCRO4tIoizP+QwCgYIKoZIzj0EAwMw',
    'EjEQMA4GA1UEAwwHVGVzdCBDQTAeFw0yNjExMjYyMjE3NTFaFw0zNjExMjMyMjE3',
    'NTFaMBIxEDAOBgNVBAMMB1Rlc3QgQ0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC',
    'AAR+F8C2lg7cmoSUPbyKmM4GIxqOxd/1nPIauNqMw3Ls5iqUkDRapgw4uL+QjrZE',
    'l7LSPeqSegbH2nTS4ADQhGb/o0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB',
    '/wQEAwIBBjAdBgNVHQ4EFgQUNAdwojOCjyjKJnFgGj1tLWhURAMwCgYIKoZIzj0E',
    'AwMDSAAwRQIhAPxcIa8PbS3hfOGwC0eWWXpqZB7wvF05PXrMZlkxxUHXAiBferGT',
    '80pRDGI1rf1/hhfOoB2el/iszCJN9R3GBaOpuQ==',
    '-----END CERTIFICATE-----',
  ].join('\n'),
  token: [
    'MIIFZTADAgEAMIIFXAYJKoZIhvcNAQcCoIIFTTCCBUkCAQMxDzANBglghkgBZQMEAgIFADCBpwYLKoZIhvcNAQkQAQSggZcEgZQwgZECAQEGBC',
    'oDBAEwQTANBglghkgBZQMEAgIFAAQwPL1HGkkZodi7TGQ8CnqgE4Wu55DLC/DkFK4j47N9iqmno0F4gCmRb9cqBhVMvznZAgECGBMyMDI2MTEy',
    'NjIyMTc1Mi42NjRaMAcCAQGAAgH0AQH/AghsBMu+SBlbVaAVpBMwETEPMA0GA1UEAwwGVFNBIGVjoIIDQTCCAZkwggE/oAMCAQICFF2E5BRKsO',
    'UuA+yyQ7M9hBho4ZuyMAoGCCqGSM49BAMDMBExDzANBgNVBAMMBk1pZCBlYzAeFw0yNjExMjYyMjE3NTJaFw0zNTAyMTIyMjE3NTJaMBExDzAN',
    'BgNVBAMMBlRTQSBlYzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLARD1dMsRPkNyEoO332W+IfymfuRyaMGHfgv9UWHeAI8VPI1s+d16YBf/',
    'YxzSnLALU4Bmw2+OviAv8I8x+TEzKjdTBzMAkGA1UdEwQCMAAwDgYDVR0PAQH/BAQDAgeAMBYGA1UdJQEB/wQMMAoGCCsGAQUFBwMIMB0GA1Ud',
    'DgQWBBTu22n6yEo7MemC0Baq5m8wdr0uUTAfBgNVHSMEGDAWgBQOUAkMtExGYdV7mNclXZ+xNxuS8DAKBggqhkjOPQQDAwNIADBFAiAdZ5E35+',
    'P95ww5va3NcJdeYFSZo7nilShNuAIwUO6lXwIhALntnbgtSKqfkz06JBKCa57O72OR9NgdtkRMc0UqqpiJMIIBoDCCAUagAwIBAgIUIo2NVaPh',
    'aBSodR7pZ/WKvihbCiwwCgYIKoZIzj0EAwMwEjEQMA4GA1UEAwwHVGVzdCBDQTAeFw0yNjExMjYyMjE3NTJaFw0zNTAyMTIyMjE3NTJaMBExDz',
    'ANBgNVBAMMBk1pZCBlYzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFt7SibYpmb7R+ucC3w6pQKWU2Xwc+Bg2u8RFM1Mv4bEf9l6miZD9dUv',
    'qOgrr1VrWbJQJRxxSNBrS06fg29Nyy6jezB5MBIGA1UdEwEB/wQIMAYBAf8CAQAwDgYDVR0PAQH/BAQDAgIEMBMGA1UdJQQMMAoGCCsGAQUFBw',
    'MIMB0GA1UdDgQWBBQOUAkMtExGYdV7mNclXZ+xNxuS8DAfBgNVHSMEGDAWgBQ0B3CiM4KPKMomcWAaPW0taFREAzAKBggqhkjOPQQDAwNIADBF',
    'AiBUrQJpAXPqhftedb7G6XU2YH0TnmISfJzio9y4BIVUjAIhAJnkkGcwYsus0c38cjZSFRV3mW64F8hEpCuPHmA5bt9VMYIBQjCCAT4CAQEwKT',
    'ARMQ8wDQYDVQQDDAZNaWQgZWMCFF2E5BRKsOUuA+yyQ7M9hBho4ZuyMA0GCWCGSAFlAwQCAgUAoIGoMBoGCSqGSIb3DQEJAzENBgsqhkiG9w0B',
    'CRABBDAcBgkqhkiG9w0BCQUxDxcNMjYxMTI2MjIxNzUyWjArBgsqhkiG9w0BCRACDDEcMBowGDAWBBTOqbK0+hFXdgCnY7WdGNR04NK6LzA/Bg',
    'kqhkiG9w0BCQQxMgQwj4QCbEdxoahHyTQhf4GjGZPFN/s2WU0dkl1kCefIuFnMn+LNeNHQ/I8YDKs7FHfWMAoGCCqGSM49BAMDBEgwRgIhAOBG',
    'hyL9Itau9s4hxD7oCw451lBohhBGzC+263aro3cNAiEA+TwpGxcS58O6xBl+T9Fp+tN+3HMyYX22pW6yzcGkEG4=',
  ].join(''),
};

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
    const entries = [[checkpoint.origin, 1, log], ['witness.example', 4, witness]]
      .map(([own, type, line]) => ({speaks: name => name === own, type, key: parts.readKeyLine(line)}));
    const {state, names} = await parts.checkNote(checkpoint.note, entries);
    expect('note', [state, names], ['right', [checkpoint.origin, 'witness.example']]);
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
    const isSigned = () => parts.verifyEd25519(parts.readKeyLine(key).raw, parts.preAuthentication(opened.type, opened.payload), opened.signatures[0].sig);
    expect('envelope', [opened.signatures[0].keyid, await isSigned()], [parts.readKeyLine(key).fingerprint, true]);
    opened.payload[0] ^= 1;
    expect('altered envelope', await isSigned(), false);
    const {message, namespace, armored} = given.sshsig;
    const signer = parts.readKeyLine(given.sshsig.key);
    const by = await parts.checkSshSignature(armored, namespace, utf8(message), signer.fingerprint);
    expect('SSHSIG', by.fingerprint, signer.fingerprint);
    const answer = await parts.checkSshSignature(armored, namespace, utf8(`${message}!`), signer.fingerprint).catch(error => error.message);
    expect('SSHSIG over something else', answer, 'it does not verify');
  }

  const armored = base64 => `-----BEGIN SSH SIGNATURE-----\n${base64}\n-----END SSH SIGNATURE-----\n`;

  /** What is said of the signature, given in base64, by the key within it. */
  async function judged(base64, message) {
    const bytes = Uint8Array.from(atob(base64), character => character.charCodeAt(0));
    const length = new DataView(bytes.buffer).getUint32(10);
    const {fingerprint} = parts.readWireKey(bytes.subarray(14, 14 + length));
    return parts.checkSshSignature(armored(base64), 'approval@rexecop', utf8(message), fingerprint).then(() => 'right', error => error.message);
  }

  async function suites() {
    for (const [suite, answer, base64] of SIGNATURES) {
      expect(suite, await judged(base64, 'a message'), answer);
      if (answer !== 'algorithm `ssh-rsa`') expect(`${suite}, another message`, await judged(base64, 'a massage'), 'it does not verify');
    }
    const [, example] = /-----BEGIN SSH SIGNATURE-----\n([^]+?)\n-----END/.exec(pages.signatures);
    expect('the example of signatures.md', await judged(example.replaceAll('\n', ''), 'yes\n'), 'right');
    const named = [...pages.signatures.matchAll(/^\| `([a-z0-9@.-]+)` \| `([a-z0-9@.-]+)` \|/gm)].map(([, name, type]) => [name, type]);
    expect('suites', Object.entries(parts.SUITES).map(([name, {type}]) => [name, type]).sort(), named.sort());
  }

  /** The example of an allowed_signers file, and lines that are refused. */
  function signers() {
    const trust = text => parts.readTrust({'approver.allowed_signers': utf8(text)});
    const example = /```text\n(# PRINCIPALS[^]+?)```/.exec(pages.signatures)[1];
    const [mara, ops] = trust(example);
    const at = Date.parse;
    expect('for whom', [mara, ops].map(({speaks}) => ['mara', 'x@ops.example', 'guest@ops.example'].map(speaks)), [[true, false, false], [false, true, false]]);
    expect('for what', ['approval@rexecop', 'intent@rexecop'].map(name => mara.counts(name, at('2026-06-01'))), [true, false]);
    expect('from when', ['2025-12-31T23:59:59.999Z', '2026-01-01T00:00:00.000Z'].map(time => mara.counts('approval@rexecop', at(time))), [false, true]);
    expect('until when', ['2026-12-31T23:59:59.000Z', '2027-01-01T00:00:00.000Z'].map(time => ops.counts('intent@rexecop', at(time))), [true, false]);
    const key = example.match(/ssh-ed25519 \S+/)[0];
    for (const option of ['cert-authority', 'namespaces=""', 'valid-after="20260101"', 'valid-before="20260230Z"', 'namespaces="a",namespaces="b"', 'other="x"', 'namespaces=a']) {
      expect(`a line with ${option}`, attempt(() => trust(`mara ${option} ${key}`).length).toString().startsWith('threw'), true);
    }
    expect('a line for somebody else', attempt(() => parts.readTrust({'approver-jan.allowed_signers': utf8(`mara ${key}`)})).toString().startsWith('threw'), true);
  }

  async function stamps() {
    const token = Uint8Array.from(atob(STAMP.token), character => character.charCodeAt(0));
    const trusted = parts.readAuthorities({'tsa-test.pem': utf8(`Some words.\n${STAMP.authority}\n`)});
    const check = (bytes, text, authorities) => parts.checkStamp(bytes, utf8(text), authorities)
      .then(({authority, at}) => `${authority} ${new Date(at).toISOString()}`, error => error.message);
    expect('stamp', await check(token, STAMPED, trusted), 'test 2026-11-26T22:17:52.664Z');
    expect('stamp over something else', await check(token, 'x', trusted), 'it is over something else');
    expect('stamp of a stranger', await check(token, STAMPED, []), 'it leads to no trusted certificate');
    let passed = 0;
    for (let bit = 8 * 60; bit < 8 * 500; bit += 7) { // imprint, time, serial number: all that the authority signs
      const altered = token.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      if ((await check(altered, STAMPED, trusted)).startsWith('test')) passed += 1;
    }
    expect('altered stamps that pass', passed, 0);
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
    const codes = [...pages.verification.matchAll(/^\| `(E\d\d[a-z]{1,2})` \| (.+?) \|$/gm)].map(([, code, meaning]) => [code, meaning]);
    expect('codes', Object.entries(parts.MEANINGS), codes);
    const steps = [...pages.verification.matchAll(/^### Step \d+: (.+)$/gm)].map(([, name]) => name);
    expect('steps', parts.STEPS.slice(1), steps);
  }

  for (const check of [canonicalForms, containers, texts, patterns, calls, trees, keys, signatures, suites, signers, stamps, ed25519ByHand, tables]) {
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
  const pages = Object.fromEntries(['records', 'verification', 'signatures'].map(name => [name, readFileSync(join(formats, `${name}.md`), 'utf8')]));
  checkParts(globalThis.verifyBundle.parts, readFileSync(join(formats, 'vectors.json'), 'utf8'), pages).then(failures => {
    console.log(failures.length ? failures.join('\n') : 'every vector and table holds');
    process.exitCode = failures.length ? 1 : 0;
  });
}
