// Command yoloprune trains, prunes, repairs, measures and exports YOLO
// detectors. See README.md.
package main

import (
	"os"
	"syscall"

	"yoloprune/cmd/yoloprune/internal/cli"
)

func main() {
	waitPassively()
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}

// waitPassively starts the program again with OMP_WAIT_POLICY=PASSIVE, unless
// the user has set a policy. OpenMP's threads otherwise spin while they wait
// and take the cores from whatever prepares the next batch. OpenMP reads the
// variable when it is loaded, before main, so it cannot be set from here.
func waitPassively() {
	const policy = "OMP_WAIT_POLICY"
	if os.Getenv(policy) != "" || os.Setenv(policy, "PASSIVE") != nil {
		return
	}
	if self, err := os.Executable(); err == nil {
		// On success this does not return; without it the program is only slower.
		_ = syscall.Exec(self, os.Args, os.Environ())
	}
}
