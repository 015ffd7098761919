// Package arch holds no code, only the tests that keep the project's shape:
// which package may import which, formatting, and the length of functions.
package arch
