// Adds ARGV[0] to KEYS[0] unless its value is above ARGV[1], in which case the sum would not fit.
// Returns the new value; null if it would not fit; or the value of the key if that is not an
// integer, or wrapped around (at or below -ARGV[2]). Compares digits, because numbers here are
// doubles, which are not exact above 2^53. The server does the addition itself, in 64 bits.
var have = sdb.call('get', KEYS[0]);
function greater(a, b) {
  return a.length > b.length || (a.length == b.length && a > b);
}
if (have !== undefined) {
  if (!/^(0|-?[1-9][0-9]{0,18})$/.test(have)) return have;
  if (have.charAt(0) == '-') {
    if (!greater(ARGV[2], have.substring(1))) return have;
  } else if (greater(have, ARGV[1])) {
    return null;
  }
}
sdb.call('incrby', KEYS[0], ARGV[0]);
return sdb.call('get', KEYS[0]);
