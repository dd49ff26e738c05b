"""Mints through redis-py. The first argument is the port, the second one the password."""

import sys

import redis

port, password = int(sys.argv[1]), sys.argv[2]
for protocol in (2, 3):
    with redis.Redis(port=port, password=password, protocol=protocol, decode_responses=True) as client:
        print(client.incr("integers"), client.incrby("integers", 5), client.get("integers"))
        pipeline = client.pipeline(transaction=False)
        for _ in range(3):
            pipeline.incr("integers")
        print(*pipeline.execute())
