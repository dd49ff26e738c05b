// Sets KEYS[0] to ARGV[0] if its value wrapped around, that is, if it is at or below -ARGV[1].
var have = sdb.call('get', KEYS[0]);
if (have !== undefined && /^-[1-9][0-9]{0,18}$/.test(have)) {
  var digits = have.substring(1);
  if (digits.length > ARGV[1].length || (digits.length == ARGV[1].length && digits >= ARGV[1])) {
    sdb.call('set', KEYS[0], ARGV[0]);
  }
}
return null;
