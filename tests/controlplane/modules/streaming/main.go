// Command streaming answers port-forwards as a kubelet does, with Kubernetes' own library for them.
//
// It serves plain HTTP on a free port of 127.0.0.1, which it prints, until its standard input ends. Where the
// ports of a pod are reached stands in a header of each request: Routes: 8080=127.0.0.1:41234, and so on.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/pkg/cri/streaming/portforward"
)

const idle, creation = time.Hour, 30 * time.Second

type routes map[string]string

// PortForward copies between a stream and a port until either ends.
func (known routes) PortForward(_ context.Context, _ string, _ types.UID, port int32, stream io.ReadWriteCloser) error {
	address, found := known[fmt.Sprint(port)]
	if !found {
		return fmt.Errorf("the pod has no port %d", port)
	}
	connection, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer connection.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(stream, connection)
		ended <- err
	}()
	go func() {
		_, _ = io.Copy(connection, stream)
		_ = connection.(*net.TCPConn).CloseWrite()
	}()
	return <-ended
}

func forward(answer http.ResponseWriter, asked *http.Request) {
	known := routes{}
	for _, pair := range strings.Split(asked.Header.Get("Routes"), ",") {
		port, address, _ := strings.Cut(strings.TrimSpace(pair), "=")
		known[port] = address
	}
	options, err := portforward.NewV4Options(asked)
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(
		answer, asked, known, "pod", "", options, idle, creation, portforward.SupportedProtocols)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	log.Fatal(http.Serve(listener, http.HandlerFunc(forward)))
}
