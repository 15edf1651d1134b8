// An application in Go, with the client that applications have: client-go. It uses the files of a TikvClientCertificate as `client-config --for go` prints it,
// writes and reads raw and in a transaction, and says on each line what it did. `main DIRECTORY PD...`
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/tikv/client-go/v2/config"
	"github.com/tikv/client-go/v2/rawkv"
	"github.com/tikv/client-go/v2/txnkv"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(directory string, pd []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	security := config.NewSecurity(directory+"/ca.crt", directory+"/tls.crt", directory+"/tls.key", nil)
	config.UpdateGlobal(func(c *config.Config) { c.Security = security })
	key, value := []byte("real-client/go"), []byte(time.Now().String())

	raw, err := rawkv.NewClientWithOpts(ctx, pd, rawkv.WithSecurity(security))
	if err != nil {
		return fmt.Errorf("raw client: %w", err)
	}
	defer raw.Close()
	if err := raw.Put(ctx, key, value); err != nil {
		return fmt.Errorf("raw put: %w", err)
	}
	found, err := raw.Get(ctx, key)
	if err != nil || !bytes.Equal(found, value) {
		return fmt.Errorf("raw get: %q %w", found, err)
	}
	fmt.Println("raw: written and read")

	client, err := txnkv.NewClient(pd)
	if err != nil {
		return fmt.Errorf("transactional client: %w", err)
	}
	defer client.Close()
	writes, err := client.Begin()
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	if err := writes.Set(key, value); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	if err := writes.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	reads, err := client.Begin()
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	found, err = reads.Get(ctx, key)
	if err != nil || !bytes.Equal(found, value) {
		return fmt.Errorf("get: %q %w", found, err)
	}
	fmt.Println("transaction: committed and read")
	return nil
}
