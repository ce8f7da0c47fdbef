package godwit.tests;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.security.cert.Certificate;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.elements.Connector;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.ExtendedMasterSecretMode;
import org.eclipse.californium.scandium.dtls.MaxFragmentLengthExtension;
import org.eclipse.californium.scandium.dtls.SessionListener;
import org.eclipse.californium.scandium.dtls.cipher.CipherSuite;
import org.eclipse.leshan.client.endpoint.ClientEndpointToolbox;
import org.eclipse.leshan.client.servers.ServerInfo;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointFactory;
import org.eclipse.leshan.transport.californium.client.endpoint.CaliforniumClientEndpointsProvider;
import org.eclipse.leshan.transport.californium.client.endpoint.coap.CoapClientEndpointFactory;
import org.eclipse.leshan.transport.californium.client.endpoint.coap.CoapClientProtocolProvider;
import org.eclipse.leshan.transport.californium.client.endpoint.coaps.CoapsClientEndpointFactory;
import org.eclipse.leshan.transport.californium.client.endpoint.coaps.CoapsClientProtocolProvider;

/**
 * How a client's datagrams are made: coap and coaps on 127.0.0.1.
 *
 * <p>Options: block (preferred block size), ack (ms of ACK_TIMEOUT); of DTLS: suites (their names, parted by commas), cid
 * (bytes of the client's connection id; -1 offers none, 0 asks for the server's alone; 6 unless set), ems (NONE, OPTIONAL,
 * ENABLED, REQUIRED), sni (true), mfl (BYTES_512 …), mtu, retransmit (ms of the first timer), idle (ms after which a
 * request resumes the session first), keylog (a file).
 */
final class Endpoints {
    private Endpoints() {}

    static CaliforniumClientEndpointsProvider build(
            Map<String, String> options, Credential credential, Watch watch, SessionListener handshakes)
            throws Exception {
        CaliforniumClientEndpointsProvider.Builder builder =
                new CaliforniumClientEndpointsProvider.Builder(plain(watch), secured(credential, watch, handshakes));
        Configuration configuration = builder.createDefaultConfiguration();
        coap(configuration, options);
        dtls(configuration, options);
        builder.setConfiguration(configuration);
        builder.setClientAddress(InetAddress.getByName("127.0.0.1"));
        return builder.build();
    }

    private static void coap(Configuration configuration, Map<String, String> options) {
        configuration.set(CoapConfig.MAX_ACTIVE_PEERS, 16);
        configuration.set(CoapConfig.PROTOCOL_STAGE_THREAD_COUNT, 1);
        configuration.set(CoapConfig.MAX_RESOURCE_BODY_SIZE, 1 << 20);
        if (options.containsKey("block")) {
            configuration.set(CoapConfig.PREFERRED_BLOCK_SIZE, Integer.valueOf(options.get("block")));
        }
        if (options.containsKey("ack")) {
            configuration.set(CoapConfig.ACK_TIMEOUT, Integer.parseInt(options.get("ack")), TimeUnit.MILLISECONDS);
        }
    }

    private static void dtls(Configuration configuration, Map<String, String> options) {
        configuration.set(DtlsConfig.DTLS_MAX_CONNECTIONS, 16);
        configuration.set(DtlsConfig.DTLS_RECEIVER_THREAD_COUNT, 1);
        configuration.set(DtlsConfig.DTLS_CONNECTOR_THREAD_COUNT, 1);
        configuration.set(
                DtlsConfig.DTLS_CONNECTION_ID_LENGTH, Integer.valueOf(options.getOrDefault("cid", "6")));
        configuration.set(
                DtlsConfig.DTLS_USE_SERVER_NAME_INDICATION, Boolean.valueOf(options.getOrDefault("sni", "false")));
        if (options.containsKey("suites")) {
            List<CipherSuite> suites = new ArrayList<>();
            for (String suite : options.get("suites").split(",")) {
                suites.add(CipherSuite.valueOf(suite));
            }
            configuration.set(DtlsConfig.DTLS_RECOMMENDED_CIPHER_SUITES_ONLY, false);
            configuration.set(DtlsConfig.DTLS_CIPHER_SUITES, suites);
        }
        if (options.containsKey("ems")) {
            configuration.set(
                    DtlsConfig.DTLS_EXTENDED_MASTER_SECRET_MODE, ExtendedMasterSecretMode.valueOf(options.get("ems")));
        }
        if (options.containsKey("mfl")) {
            configuration.set(
                    DtlsConfig.DTLS_MAX_FRAGMENT_LENGTH, MaxFragmentLengthExtension.Length.valueOf(options.get("mfl")));
        }
        if (options.containsKey("mtu")) {
            configuration.set(DtlsConfig.DTLS_MAX_TRANSMISSION_UNIT, Integer.valueOf(options.get("mtu")));
        }
        if (options.containsKey("retransmit")) {
            configuration.set(
                    DtlsConfig.DTLS_RETRANSMISSION_TIMEOUT,
                    Integer.parseInt(options.get("retransmit")),
                    TimeUnit.MILLISECONDS);
        }
        if (options.containsKey("idle")) {
            configuration.set(
                    DtlsConfig.DTLS_AUTO_HANDSHAKE_TIMEOUT,
                    Integer.parseInt(options.get("idle")),
                    TimeUnit.MILLISECONDS);
        }
        if (options.containsKey("keylog")) {
            configuration.set(DtlsConfig.DTLS_TLSKEYLOG_FILE, options.get("keylog"));
        }
    }

    private static CoapClientProtocolProvider plain(Watch watch) {
        return new CoapClientProtocolProvider() {
            @Override
            public CaliforniumClientEndpointFactory createDefaultEndpointFactory() {
                return new CoapClientEndpointFactory() {
                    @Override
                    public CoapEndpoint createCoapEndpoint(
                            InetAddress address,
                            Configuration configuration,
                            ServerInfo server,
                            boolean clientInitiated,
                            List<Certificate> trust,
                            ClientEndpointToolbox toolbox) {
                        return watched(
                                super.createCoapEndpoint(
                                        address, configuration, server, clientInitiated, trust, toolbox),
                                watch);
                    }
                };
            }
        };
    }

    private static CoapsClientProtocolProvider secured(
            Credential credential, Watch watch, SessionListener handshakes) {
        return new CoapsClientProtocolProvider() {
            @Override
            public CaliforniumClientEndpointFactory createDefaultEndpointFactory() {
                return new CoapsClientEndpointFactory() {
                    @Override
                    public CoapEndpoint createCoapEndpoint(
                            InetAddress address,
                            Configuration configuration,
                            ServerInfo server,
                            boolean clientInitiated,
                            List<Certificate> trust,
                            ClientEndpointToolbox toolbox) {
                        if (credential.chain.length > 0) {
                            // A Security object holds the client's own certificate and no intermediate one.
                            server.clientCertificates = credential.chain;
                        }
                        return watched(
                                super.createCoapEndpoint(
                                        address, configuration, server, clientInitiated, trust, toolbox),
                                watch);
                    }

                    @Override
                    protected Connector createSecuredConnector(DtlsConnectorConfig configuration) {
                        return new Observed(configuration, handshakes);
                    }
                };
            }
        };
    }

    private static CoapEndpoint watched(CoapEndpoint endpoint, Watch watch) {
        if (endpoint != null) {
            endpoint.addInterceptor(watch);
        }
        return endpoint;
    }

    /** A connector that tells of its handshakes. */
    private static final class Observed extends DTLSConnector {
        Observed(DtlsConnectorConfig configuration, SessionListener handshakes) {
            super(configuration);
            addSessionListener(handshakes);
        }
    }
}
