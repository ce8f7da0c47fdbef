import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HexFormat;
import org.eclipse.californium.elements.RawData;
import org.eclipse.californium.elements.config.CertificateAuthenticationMode;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.CertificateType;
import org.eclipse.californium.scandium.dtls.cipher.CipherSuite;
import org.eclipse.californium.scandium.dtls.pskstore.SinglePskStore;
import org.eclipse.californium.scandium.dtls.x509.SingleCertificateProvider;
import org.eclipse.californium.scandium.dtls.x509.StaticCertificateVerifier;

/**
 * Sends back what comes over DTLS: {@code Echo ADDRESS PORT psk IDENTITY KEYHEX} or {@code Echo ADDRESS PORT x509 KEY.pem
 * CHAIN.pem}, where any client certificate will do. Prints "ready"; then answers each line of its input with the bytes of
 * its heap that are in use after a collection.
 */
public final class Echo {
    private Echo() {}

    public static void main(String[] args) throws Exception {
        DtlsConfig.register();
        Configuration settings = Configuration.createStandardWithoutFile();
        DtlsConnectorConfig.Builder builder = DtlsConnectorConfig.builder(settings)
                .setAddress(new InetSocketAddress(args[0], Integer.parseInt(args[1])))
                .set(DtlsConfig.DTLS_ROLE, DtlsConfig.DtlsRole.SERVER_ONLY)
                .set(DtlsConfig.DTLS_RECOMMENDED_CIPHER_SUITES_ONLY, false)
                .set(DtlsConfig.DTLS_CONNECTION_ID_LENGTH, 6)
                // As many as the node has.
                .set(DtlsConfig.DTLS_RECEIVER_THREAD_COUNT, 1)
                .set(DtlsConfig.DTLS_CONNECTOR_THREAD_COUNT, 2)
                .set(DtlsConfig.DTLS_RECEIVE_BUFFER_SIZE, 4 << 20);
        if (args[2].equals("psk")) {
            builder.setAsList(DtlsConfig.DTLS_CIPHER_SUITES, CipherSuite.TLS_PSK_WITH_AES_128_CCM_8)
                    .setPskStore(new SinglePskStore(args[3], HexFormat.of().parseHex(args[4])));
        } else {
            CertificateFactory certificates = CertificateFactory.getInstance("X.509");
            Certificate[] chain;
            try (var file = Files.newInputStream(Path.of(args[4]))) {
                chain = certificates.generateCertificates(file).toArray(Certificate[]::new);
            }
            builder.setAsList(DtlsConfig.DTLS_CIPHER_SUITES, CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8)
                    .set(DtlsConfig.DTLS_CLIENT_AUTHENTICATION_MODE, CertificateAuthenticationMode.NEEDED)
                    .setCertificateIdentityProvider(
                            new SingleCertificateProvider(key(Path.of(args[3])), chain, CertificateType.X_509))
                    .setCertificateVerifier(StaticCertificateVerifier.builder().setTrustAllCertificates().build());
        }
        DTLSConnector connector = new DTLSConnector(builder.build());
        connector.setRawDataReceiver(data ->
                connector.send(RawData.outbound(data.getBytes(), data.getEndpointContext(), null, false)));
        connector.start();
        System.out.println("ready");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        Runtime runtime = Runtime.getRuntime();
        while (input.readLine() != null) {
            System.gc();
            System.out.println(runtime.totalMemory() - runtime.freeMemory());
        }
        connector.destroy();
    }

    private static PrivateKey key(Path path) throws Exception {
        String text = Files.readString(path).replaceAll("-----[A-Z ]+-----", "").replaceAll("\\s", "");
        return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text)));
    }
}
