// Command verify reads sets of ca.crt, tls.crt and tls.key from directories, and does with them what PD, TiDB and other clients in Go do:
// the chain must verify for each use, and both ends of a mutual TLS connection must take it.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	for _, dir := range os.Args[1:] {
		if err := verify(dir); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", dir, err)
			os.Exit(1)
		}
		fmt.Println(filepath.Base(dir))
	}
}

func verify(dir string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return err
	}
	bundle, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("no certificate in ca.crt")
	}
	between := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	for _, der := range pair.Certificate[1:] {
		between.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	client := strings.HasSuffix(dir, "-client")
	uses := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if !client {
		uses = append(uses, x509.ExtKeyUsageServerAuth)
	}
	for _, use := range uses {
		options := x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{use}}
		if _, err := leaf.Verify(options); err != nil {
			return fmt.Errorf("use %d: %w", use, err)
		}
	}
	server := x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := leaf.Verify(server); client == (err == nil) {
		return fmt.Errorf("as a server: %v", err)
	}
	if client {
		return nil
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		if err := connect(pair, roots, version); err != nil {
			return fmt.Errorf("TLS %x: %w", version, err)
		}
	}
	return nil
}

func connect(pair tls.Certificate, roots *x509.CertPool, version uint16) error {
	one, other := net.Pipe()
	defer one.Close()
	defer other.Close()
	common := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: version, MaxVersion: version}
	server := common.Clone()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, roots
	client := common.Clone()
	client.RootCAs, client.ServerName = roots, "tikv-0.peer.tikv.svc"
	done := make(chan error, 1)
	go func() {
		end := tls.Server(one, server)
		if err := end.Handshake(); err != nil {
			done <- err
			return
		}
		_, err := end.Write([]byte("ready"))
		done <- err
	}()
	end := tls.Client(other, client)
	if err := end.Handshake(); err != nil {
		return err
	}
	if _, err := end.Read(make([]byte, 5)); err != nil {
		return err
	}
	return <-done
}
