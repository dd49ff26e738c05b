// Sets KEYS[0] to ARGV[1] if it is below ARGV[0] or missing; both are integers of 0 or more. Returns null if
// it did, otherwise the value of the key, which is not below, not an integer, or wrapped around (at or
// below -ARGV[2]). Compares digits, because numbers here are doubles.
var have = sdb.call('get', KEYS[0]);
function greater(a, b) {
  return a.length > b.length || (a.length == b.length && a > b);
}
if (have !== undefined) {
  if (!/^(0|-?[1-9][0-9]{0,18})$/.test(have)) return have;
  if (have.charAt(0) == '-') {
    if (!greater(ARGV[2], have.substring(1))) return have;
  } else if (!greater(ARGV[0], have)) {
    return have;
  }
}
sdb.call('set', KEYS[0], ARGV[1]);
return null;
