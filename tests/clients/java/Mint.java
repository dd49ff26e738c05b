// Mints through Jedis. The first argument is the port, the second one the password.

import java.util.ArrayList;
import java.util.List;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.Response;

class Mint {
    public static void main(String[] args) {
        HostAndPort address = new HostAndPort("127.0.0.1", Integer.parseInt(args[0]));
        for (RedisProtocol protocol : new RedisProtocol[] {RedisProtocol.RESP2, RedisProtocol.RESP3}) {
            DefaultJedisClientConfig config =
                    DefaultJedisClientConfig.builder().password(args[1]).protocol(protocol).build();
            try (Jedis client = new Jedis(address, config)) {
                long one = client.incr("integers");
                long five = client.incrBy("integers", 5);
                System.out.println(one + " " + five + " " + client.get("integers"));
                Pipeline pipeline = client.pipelined();
                List<Response<Long>> replies = new ArrayList<>();
                for (int i = 0; i < 3; i++) {
                    replies.add(pipeline.incr("integers"));
                }
                pipeline.sync();
                System.out.println(
                        replies.get(0).get() + " " + replies.get(1).get() + " " + replies.get(2).get());
            }
        }
    }
}
