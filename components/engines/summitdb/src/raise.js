// Raises KEYS[0] to ARGV[0], an integer of 0 or more, unless it is greater. Returns null if it did,
// otherwise the value of the key, which is greater, not an integer, or wrapped around (at or below
// -ARGV[1]). Compares digits, because numbers here are doubles.
var have = sdb.call('get', KEYS[0]);
function greater(a, b) {
  return a.length > b.length || (a.length == b.length && a > b);
}
if (have !== undefined) {
  if (!/^(0|-?[1-9][0-9]{0,18})$/.test(have)) return have;
  if (have.charAt(0) == '-') {
    if (!greater(ARGV[1], have.substring(1))) return have;
  } else if (greater(have, ARGV[0])) {
    return have;
  }
}
sdb.call('set', KEYS[0], ARGV[0]);
return null;
