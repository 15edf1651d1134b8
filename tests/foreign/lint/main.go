// Lints the certificates in `tls.crt` and `ca.crt` of each directory by what X.509 itself asks for, with zlint. Rules of browsers and of public
// CAs are left out: names of a cluster break them on purpose.
package main

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

func main() {
	rules, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813},
	})
	if err != nil {
		panic(err)
	}
	bad, seen := 0, 0
	for _, directory := range os.Args[1:] {
		for _, file := range []string{"tls.crt", "ca.crt"} {
			rest, err := os.ReadFile(filepath.Join(directory, file))
			if err != nil {
				panic(err)
			}
			for {
				var block *pem.Block
				if block, rest = pem.Decode(rest); block == nil {
					break
				}
				certificate, err := x509.ParseCertificate(block.Bytes)
				if err != nil {
					fmt.Fprintf(os.Stderr, "%s/%s: %v\n", directory, file, err)
					bad++
					continue
				}
				seen++
				for name, result := range zlint.LintCertificateEx(certificate, rules).Results {
					if result.Status >= lint.Warn {
						fmt.Fprintf(os.Stderr, "%s/%s (%s): %s: %s %s\n", directory, file, certificate.Subject.CommonName, name, result.Status, result.Details)
						bad++
					}
				}
			}
		}
	}
	fmt.Printf("%d certificates, %d faults\n", seen, bad)
	if bad > 0 || seen == 0 {
		os.Exit(1)
	}
}
