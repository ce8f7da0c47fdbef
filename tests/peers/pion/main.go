// A DTLS client on pion/dtls, driven line by line as ../README.md says.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
)

const patience = 10 * time.Second

// The suites that pion offers only when they are listed.
var suites = map[string]dtls.CipherSuiteID{
	"C0A8": dtls.TLS_PSK_WITH_AES_128_CCM_8,
	"00AE": dtls.TLS_PSK_WITH_AES_128_CBC_SHA256,
	"C0AE": dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	"C02B": dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
}

// sessions keeps what can be resumed.
type sessions struct {
	mutex sync.Mutex
	kept  map[string]dtls.Session
}

func (s *sessions) Set(key []byte, session dtls.Session) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.kept[string(key)] = session
	return nil
}

func (s *sessions) Get(key []byte) (dtls.Session, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.kept[string(key)], nil
}

func (s *sessions) Del(key []byte) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	delete(s.kept, string(key))
	return nil
}

func main() {
	options := map[string]string{}
	for _, argument := range os.Args[1:] {
		key, value, _ := strings.Cut(argument, "=")
		options[key] = value
	}
	settings, err := settings(options)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	server, err := net.ResolveUDPAddr("udp", options["address"])
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}

	var connection *dtls.Conn
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		verb, argument, _ := strings.Cut(lines.Text(), " ")
		answer := "ok"
		err = nil
		switch verb {
		case "connect":
			if connection != nil {
				_ = connection.Close()
			}
			connection, err = connect(server, settings)
		case "send":
			answer, err = exchange(connection, argument)
		default:
			err = errors.New("no such verb")
		}
		if err != nil {
			answer = "error " + err.Error()
		}
		fmt.Println(answer)
	}
}

func settings(options map[string]string) ([]dtls.ClientOption, error) {
	suite, known := suites[options["suite"]]
	if !known {
		return nil, errors.New("no such suite")
	}
	settings := []dtls.ClientOption{
		dtls.WithCipherSuites(suite),
		dtls.WithSessionStore(&sessions{kept: map[string]dtls.Session{}}),
		dtls.WithServerName("godwit"),
	}
	if options["mode"] == "psk" {
		key, err := hex.DecodeString(options["key"])
		if err != nil {
			return nil, err
		}
		settings = append(settings,
			dtls.WithPSK(func([]byte) ([]byte, error) { return key, nil }),
			dtls.WithPSKIdentityHint([]byte(options["identity"])))
	} else {
		certificate, err := tls.LoadX509KeyPair(options["chain"], options["private"])
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		authority, err := os.ReadFile(options["authority"])
		if err != nil {
			return nil, err
		}
		roots.AppendCertsFromPEM(authority)
		settings = append(settings, dtls.WithCertificates(certificate), dtls.WithRootCAs(roots))
	}
	if length, given := options["cid"]; given {
		bytes, err := strconv.Atoi(length)
		if err != nil {
			return nil, err
		}
		generator := dtls.RandomCIDGenerator(bytes)
		if bytes == 0 {
			generator = dtls.OnlySendCIDGenerator()
		}
		settings = append(settings, dtls.WithConnectionIDGenerator(generator))
	}
	if path := options["keylog"]; path != "" {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		settings = append(settings, dtls.WithKeyLogWriter(file))
	}
	return settings, nil
}

func connect(server *net.UDPAddr, settings []dtls.ClientOption) (*dtls.Conn, error) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	connection, err := dtls.ClientWithOptions(socket, server, settings...)
	if err != nil {
		return nil, err
	}
	_ = connection.SetDeadline(time.Now().Add(patience))
	return connection, connection.Handshake()
}

func exchange(connection *dtls.Conn, request string) (string, error) {
	bytes, err := hex.DecodeString(request)
	if err != nil || connection == nil {
		return "", errors.Join(err, errors.New("not connected"))
	}
	_ = connection.SetDeadline(time.Now().Add(patience))
	if _, err = connection.Write(bytes); err != nil {
		return "", err
	}
	buffer := make([]byte, 16384)
	length, err := connection.Read(buffer)
	return "answer " + hex.EncodeToString(buffer[:length]), err
}
