// Mints through go-redis. The first argument is the port, the second one the password.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	for _, protocol := range []int{2, 3} {
		client := redis.NewClient(&redis.Options{
			Addr:     "127.0.0.1:" + os.Args[1],
			Password: os.Args[2],
			Protocol: protocol,
		})
		one, err := client.Incr(ctx, "integers").Result()
		check(err)
		five, err := client.IncrBy(ctx, "integers", 5).Result()
		check(err)
		last, err := client.Get(ctx, "integers").Int64()
		check(err)
		fmt.Println(one, five, last)
		replies, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for range 3 {
				pipe.Incr(ctx, "integers")
			}
			return nil
		})
		check(err)
		for i, reply := range replies {
			if i > 0 {
				fmt.Print(" ")
			}
			fmt.Print(reply.(*redis.IntCmd).Val())
		}
		fmt.Println()
		check(client.Close())
	}
}
