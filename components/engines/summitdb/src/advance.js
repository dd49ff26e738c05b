// Adds ARGV[0] to KEYS[0] unless that holds more than ARGV[1], where the sum would not fit.
// Answers the new value; null when it would not fit; what the key holds when that is no integer
// or one that wrapped around, at or below -ARGV[2]. Compares digits: numbers here are doubles,
// which are not exact above 2^53. The addition itself is the server's, in 64 bits.
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
